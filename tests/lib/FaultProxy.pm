package FaultProxy;

=head1 NAME

FaultProxy - pitr's way to the S3 server of the tests, with faults on request

=head1 SYNOPSIS

    my $proxy = FaultProxy->new;
    $proxy->in_front_of($t, 'io-timeout' => '5s');       # of this PitrTest, from now on
    $proxy->rules({ method => 'PUT', do => 'lose', times => 1 });
    …
    is($proxy->count(method => 'PUT'), 2);
    $proxy->rules;                                       # nothing is broken any more

    for my $case (together(
        map { +{ t => $t, name => $_, args => ['info'], rules => [ { do => $_ } ] } } qw(close reset)))
    {
        is_exit($case->{result}, 3, $case->{name});
    }

=head1 DESCRIPTION

A tests/lib/fault-proxy, which says what rules there are. It ends with the object, or with the
process that made it.

Most faults are waited for, so that cases of a test had better run at the same time, each through a
proxy of its own. A case is a hash: t (a PitrTest), name, rules, args (of pitr); options (of the
configuration), cwd, with (words before pitr's). begin() and finish() run one, together() many; then
it has result (exit code, output, errors: see is_exit), took (seconds) and requests (of the log).

=cut

use strict;
use warnings;

use Carp;
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Open2 qw(open2);
use JSON::PP ();
use PitrTest;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(says html begin finish together asked warned lasts_about);

my $json = JSON::PP->new->utf8->canonical;
my $made = 0;

sub new
{
	my ($class) = @_;
	my ($port) = $ENV{PITR_S3_ENDPOINT_HTTP} =~ /:(\d+)$/ or croak 'no S3 server';
	my $pid = open2(my $out, my $in, '/usr/bin/python3', dirname(__FILE__) . '/fault-proxy',
		$ENV{PITR_S3_CERTIFICATE}, $port);
	$in->autoflush(1);
	my $self = bless { pid => $pid, out => $out, in => $in, owner => $$ }, $class;
	$self->{port} = $self->answer->{port};
	return $self;
}

sub answer
{
	my ($self) = @_;
	my $out = $self->{out};
	my $line = <$out>;
	croak 'the fault proxy has ended' unless defined $line;
	return $json->decode($line);
}

sub order
{
	my ($self, %order) = @_;
	my $in = $self->{in};
	print $in $json->encode(\%order) . "\n";
	return $self->answer;
}

sub rules
{
	my ($self, @rules) = @_;
	return $self->order(rules => \@rules, seed => $ENV{PITR_TEST_SEED} || 1);
}

# The server is gone, is back, as far as pitr sees.
sub down { return $_[0]->order(down => JSON::PP::true); }
sub up { return $_[0]->order(down => JSON::PP::false); }

# Requests since the rules came; only those whose fields match these expressions.
sub requests
{
	my ($self, %wanted) = @_;
	return asked({ requests => $self->order(log => 1)->{log} }, %wanted);
}

sub count
{
	my @found = requests(@_);
	return scalar @found;
}

# A configuration like that of a PitrTest, with this proxy in the repository's way and other options
# besides. Returns its path.
sub config
{
	my ($self, $t, %option) = @_;
	return spit("$t->{base}/proxy." . ++$made . '.conf', $self->change($t, %option));
}

# The same as the PitrTest's own from now on.
sub in_front_of
{
	my ($self, $t, %option) = @_;
	return spit($t->config_file, $self->change($t, %option));
}

sub change
{
	my ($self, $t, %option) = @_;
	my $text = slurp($t->config_file);
	$option{endpoint} = "https://127.0.0.1:$self->{port}";
	for my $name (sort keys %option)
	{
		$text =~ s/^\Q$name\E = .*$/$name = $option{$name}/m
		  or $text =~ s/^(\[repo:main\]\n)/$1$name = $option{$name}\n/m;
	}
	return $text;
}

sub DESTROY
{
	my ($self) = @_;
	return unless $self->{owner} == $$;
	local $?;
	close $self->{in};
	waitpid($self->{pid}, 0);
	return;
}

# ---- rules ----------------------------------------------------------------------------------

# The parts of a rule that make the answer an error of S3: says(503, 'SlowDown', 'Retry-After' => 1)
sub says
{
	my ($status, $code, %headers) = @_;
	my $xml = "<?xml version=\"1.0\"?>\n"
	  . "<Error><Code>$code</Code><Message>made up</Message></Error>";
	return (do => 'answer', status => $status, body => $xml, headers => \%headers);
}

# The answer of something that is no S3 server.
sub html
{
	my ($status) = @_;
	return (do => 'answer', status => $status, body => '<html><body>Welcome</body></html>');
}

# ---- cases ----------------------------------------------------------------------------------

sub begin
{
	my ($case, $proxy) = @_;
	my $t = $case->{t};
	my $config = $proxy->config($t, %{ $case->{options} || {} });
	$case->{output} = "$config.out";
	$case->{proxy} = $proxy;
	delete @$case{qw(took result)};
	$proxy->rules(@{ $case->{rules} });
	$case->{begun} = time();
	$case->{pid} = fork();
	croak "fork: $!" unless defined $case->{pid};
	return $case if $case->{pid};
	open(STDIN, '<', '/dev/null');
	open(STDOUT, '>', $case->{output});
	open(STDERR, '>', "$case->{output}.err");
	chdir($case->{cwd} || $t->data_dir) or POSIX::_exit(99);
	exec(@{ $case->{with} || [] }, $t->{bin}, '--config', $config, @{ $case->{args} })
	  or POSIX::_exit(99);
}

# Whether it has ended; what runs for too long is killed.
sub ended
{
	my ($case) = @_;
	kill(9, $case->{pid}) if time() - $case->{begun} > ($case->{limit} || 90);
	return 0 if waitpid($case->{pid}, POSIX::WNOHANG()) == 0;
	my $rc = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	$case->{took} = time() - $case->{begun};
	$case->{result} = [ $rc, slurp($case->{output}), slurp("$case->{output}.err") ];
	$case->{requests} = [ $case->{proxy}->requests ];
	printf "# %s: exit %d in %.1f s\n", $case->{name}, $rc, $case->{took};
	print @{ $case->{result} }[ 1, 2 ];
	return 1;
}

sub finish
{
	my ($case) = @_;
	sleep(0.01) until ended($case);
	return $case;
}

my @pool;

sub together
{
	my @cases = @_;
	my @waiting = @cases;
	@pool = map { FaultProxy->new } 1 .. 12 unless @pool;
	my @free = @pool;
	my @running;
	while (@waiting || @running)
	{
		push @running, begin(shift @waiting, pop @free) while @waiting && @free;
		my @over = grep { ended($_) } @running;
		push @free, map { $_->{proxy} } @over;
		@running = grep { !defined $_->{took} } @running;
		sleep(0.01);
	}
	return @cases;
}

# The requests of a finished case whose fields match these expressions.
sub asked
{
	my ($case, %wanted) = @_;
	my @found = @{ $case->{requests} };
	for my $field (keys %wanted)
	{
		@found = grep { $_->{$field} =~ $wanted{$field} } @found;
	}
	return @found;
}

# The warnings on its stderr.
sub warned { return grep { /^pitr: warning: / } split(/\n/, $_[0]->{result}[2]); }

# It was given up when its time was over, neither much earlier nor later.
sub lasts_about
{
	my ($case, $seconds) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	cmp_ok($case->{took}, '>', $seconds - 2, "$case->{name}: not given up early");
	return cmp_ok($case->{took}, '<', $seconds + 6, "$case->{name}: ends in time");
}

1;
