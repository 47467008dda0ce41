package PitrTest;

=head1 NAME

PitrTest - a PostgreSQL cluster protected by pitr, for tests

=head1 SYNOPSIS

    my $t = PitrTest->new('main');              # a running primary that archives with pitr
    $t->sql('CREATE TABLE t AS SELECT …');
    my $label = $t->backup;
    my $segment = $t->archive;                  # switches WAL and waits until it is stored
    my $copy = $t->restore('copy', '--target-action', 'promote');
    $t->boot($copy);                            # checked against the manifest, started, promoted
    is($t->fingerprint('t', $copy), $before);

=head1 DESCRIPTION

A thin layer over PostgreSQL::Test::Cluster, whose nodes it hands out. Each object has a repository
of its own, a configuration file, and a production node. Everything lies below the directory of the
test run. See tests/run for the environment.

The repository is a directory, or with tests/run --s3 a prefix in a bucket. Tests see it as keys
("v1/main/15-7…/wal/…") and look at and change objects through store() (see PitrStore.pm); one that
is about directories says so to PitrTest->new, and ends at skip_with_s3().

Tests of S3 itself are tests/t/2*.t. They begin with need_s3() and make objects with s3 => 1. All
tests share one server: only tests/t/29*.t, which run one by one after the others, may disturb it
with s3_control().

=cut

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(basename dirname);
use File::Path qw(make_path remove_tree);
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PitrStore;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

our @EXPORT = qw(is_exit like_error skip_loudly major_path long_form rounds lots spit slurp run_cmd
  wait_until seconds on_s3 skip_with_s3 need_s3 s3_control);

my $timeout = 180;
my $made = 0;

# ---- things without a cluster ---------------------------------------------------------------

sub long_form { return $ENV{PITR_TEST_LONG} ? 1 : 0; }

# How many rounds of something in this form of the run.
sub rounds
{
	my ($short, $long) = @_;
	return long_form() ? $long : $short;
}

# Draws lots: every test file starts from the run's seed, which it prints.
my $seeded;

sub lots
{
	my ($limit) = @_;
	if (!defined $seeded)
	{
		$seeded = $ENV{PITR_TEST_SEED} || 1;
		srand($seeded);
		diag("seed $seeded") if long_form();
	}
	return rand($limit);
}

# Notes something that can't be tested here where the end of the run will show it.
sub skip_loudly
{
	my ($why) = @_;
	diag("NOT TESTED: $why");
	if (my $file = $ENV{PITR_TEST_SKIPS})
	{
		open(my $fh, '>>', $file) or die "$file: $!";
		print $fh basename($0) . ": $why\n";
		close $fh;
	}
	return;
}

# The install path of a PostgreSQL major: undef for the system's own. In list context
# (path, reason), the reason why it can't be had.
sub major_path
{
	my ($major) = @_;
	return (undef, undef) if $major == 15;
	my $dir = ($ENV{PITR_TEST_PG} || '/var/tmp/pitr-tests/pg') . "/$major";
	return ($dir, undef) if -e "$dir/complete";
	my $why = -e "$dir.failed" ? slurp("$dir.failed") : 'not fetched; see tests/lib/pg-majors';
	$why =~ s/\s*\n\s*/; /g;
	return (undef, "PostgreSQL $major: $why");
}

sub slurp
{
	my ($file) = @_;
	open(my $fh, '<:raw', $file) or croak "$file: $!";
	local $/;
	my $text = <$fh>;
	close $fh;
	return $text;
}

sub spit
{
	my ($file, $text) = @_;
	unlink $file;
	open(my $fh, '>:raw', $file) or croak "$file: $!";
	print $fh $text;
	close $fh or croak "$file: $!";
	return $file;
}

# Whether repositories are in a bucket in this run.
sub on_s3 { return $ENV{PITR_TEST_S3} ? 1 : 0; }

# For tests that a repository on S3 changes nothing for: the run with directories has them.
sub skip_with_s3
{
	my ($why) = @_;
	plan(skip_all => "with --s3: $why") if on_s3();
	return;
}

# For tests of S3 itself: there must be a server.
sub need_s3
{
	return if $ENV{PITR_S3_ENDPOINT};
	my $why = 'no S3 server: ' . ($ENV{PITR_S3_MISSING} || 'see tests/run');
	skip_loudly($why);
	plan(skip_all => $why);
	return;
}

sub wait_until(&;$)
{
	my ($condition, $seconds) = @_;
	my $end = time() + ($seconds || 60);
	while (time() < $end)
	{
		return 1 if $condition->();
		usleep(50_000);
	}
	return 0;
}

# 'down' and 'up': the S3 server is gone, is back; 'stop-osd' and 'cont-osd': its answers wait, come.
# The server is root's: a process of tests/run does it.
sub s3_control
{
	my ($word) = @_;
	my $id = $$ . sprintf('%06d', ++$made);
	my $answer = "$ENV{PITR_S3_CONTROL}/$id";
	open(my $fh, '>', "$ENV{PITR_S3_CONTROL}/fifo") or croak "$ENV{PITR_S3_CONTROL}: $!";
	print $fh "$word $id\n";
	close $fh;
	wait_until { -e $answer } 60 or croak "no answer to $word";
	my $said = slurp($answer);
	croak "$word: $said" unless $said eq "ok\n";
	return 1;
}

sub seconds(&)
{
	my ($code) = @_;
	my $begin = time();
	$code->();
	return time() - $begin;
}

# Runs a command; returns (exit code, stdout, stderr), in scalar context the code. 128 + N for a
# signal, 124 when it takes too long.
sub run_cmd
{
	my %opt = ref $_[0] eq 'HASH' ? %{ shift @_ } : ();
	my @cmd = @_;
	my ($out, $err) = ('', '');
	print '# ' . join(' ', @cmd) . "\n";
	local %ENV = (%ENV, %{ $opt{env} || {} });
	delete @ENV{ grep { !defined $ENV{$_} } keys %ENV };
	my $h = IPC::Run::start(\@cmd, '<', \undef, '>', \$out, '2>', \$err,
		init => sub { chdir($opt{cwd}) or die "$opt{cwd}: $!" if $opt{cwd}; },
		IPC::Run::timeout($opt{timeout} || $timeout));
	if (!eval { $h->finish; 1 })
	{
		my $why = $@;
		$h->kill_kill;
		return wantarray ? (124, $out, "$err\n(test) $why") : 124;
	}
	my $raw = $h->full_result(0);
	my $rc = $raw & 127 ? 128 + ($raw & 127) : $raw >> 8;
	print "$out$err# exit $rc\n";
	return wantarray ? ($rc, $out, $err) : $rc;
}

# is_exit([$rc, $out, $err], $expected, $name): the expected exit code, a number or, for fetch,
# 'stop' (126 to 255 but not 143 nor a signal's).
sub is_exit
{
	my ($result, $expected, $name) = @_;
	my ($rc, $out, $err) = @$result;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $good =
	    $expected eq 'stop'
	  ? $rc >= 126 && $rc != 143 && $rc <= 255
	  : $rc == $expected;
	ok($good, "$name: exit $expected")
	  or diag("exit code $rc instead of $expected\nstdout: $out\nstderr: $err");
	return $good;
}

# The one error line on stderr says this.
sub like_error
{
	my ($result, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @lines = grep { /^pitr(-\w+)?: error: / } split(/\n/, $result->[2]);
	is(scalar(@lines), 1, "$name: one error line") or diag($result->[2]);
	return like(join("\n", @lines), $pattern, "$name: says why");
}

# ---- a protected cluster --------------------------------------------------------------------

# PitrTest->new($name, OPTION…): a running primary with a repository.
#   major => 17          another PostgreSQL major (see major_path)
#   initdb => […]        options of initdb
#   conf => "…"          lines for postgresql.conf
#   pitr_conf => {…}     options for [global]
#   cluster => 'main'    the name in the repository
#   archive_command      instead of pitr's; %s stands for pitr's
#   s3 => 1              the repository is in a bucket (default: as the run says)
#   bucket => {…}        options of the bucket: arguments of boto3's create_bucket
#   start => 0           don't start it
sub new
{
	my ($class, $name, %opt) = @_;
	my ($install) = $opt{major} ? major_path($opt{major}) : ();
	my $base = PostgreSQL::Test::Utils::tempdir("pitr_$name");
	chmod 0755, $base;
	my $self = bless {
		name => $name,
		major => $opt{major} || 15,
		install => $install,
		base => abs_path($base),
		cluster => $opt{cluster} || 'main',
		bin => $ENV{PITR_BIN} || croak('PITR_BIN is not set: see tests/run'),
		%opt
	}, $class;
	$self->{store} = $self->new_store(defined $opt{s3} ? $opt{s3} : on_s3());
	$self->{conf_file} = "$self->{base}/pitr.conf";
	$self->{node} = $self->new_node($name);
	$self->write_config;
	$self->init_node;
	if (!defined $opt{start} || $opt{start})
	{
		$self->{node}->start;
		$self->sql('CREATE EXTENSION amcheck') if $self->has_contrib;
	}
	return $self;
}

sub new_store
{
	my ($self, $s3) = @_;
	return PitrStore->directory("$self->{base}/repo") unless $s3;
	my $name = lc("$self->{name}-$$-" . ++$made) =~ s/[^a-z0-9]+/-/gr;
	return PitrStore->bucket($name, "$self->{base}/s3", %{ $self->{bucket} || {} });
}

sub node { return $_[0]->{node}; }
sub store { return $_[0]->{store}; }
sub config_file { return $_[0]->{conf_file}; }
sub data_dir { return abs_path($_[0]->{node}->data_dir); }

sub new_node
{
	my ($self, $name) = @_;
	return PostgreSQL::Test::Cluster->new($name,
		$self->{install} ? (install_path => $self->{install}) : ());
}

# npm's builds come without contrib
sub has_contrib
{
	my ($self) = @_;
	return !$self->{install} || !-d "$self->{install}/package";
}

sub write_config
{
	my ($self) = @_;
	my $node = $self->{node};
	my ($host, $port) = ($node->host, $node->port);
	my $data = abs_path(dirname($node->data_dir)) . '/' . basename($node->data_dir);
	# short waits: tests of faults would take minutes otherwise
	my %global = ('gap-wait' => '2s', 'fetch-timeout' => '3s', 'archive-timeout' => '1m',
		progress => 'none', %{ $self->{pitr_conf} || {} });
	my $global = join("\n", map { "$_ = $global{$_}" } sort keys %global);
	my $repo = $self->{store}->section('main');
	spit($self->{conf_file}, <<CONF);
[global]
$global
$repo\[cluster:$self->{cluster}]
data-directory = $data
conninfo = host=$host port=$port dbname=postgres
CONF
	return;
}

# A configuration file like the object's own with the repository at another place (a PitrStore).
sub config_with
{
	my ($self, $store) = @_;
	my $url = $store->url;
	return spit("$self->{base}/other" . ++$made . '.conf',
		slurp($self->{conf_file}) =~ s/^url = .*$/url = $url/mr);
}

# pitr with the options that say which configuration, for a shell.
sub shell_command
{
	my ($self) = @_;
	return "$self->{bin} --config $self->{conf_file}";
}

sub init_node
{
	my ($self) = @_;
	my $node = $self->{node};
	my @checksums = $self->{major} < 18 ? ('-k') : ();
	$node->init(allows_streaming => 1,
		extra => [ '--locale=C', '--encoding=UTF8', @checksums, @{ $self->{initdb} || [] } ]);
	my $command = $self->shell_command . ' archive %p';
	$command = $self->{archive_command} =~ s/%s/$command/r if $self->{archive_command};
	$node->append_conf('postgresql.conf', <<CONF . ($self->{conf} || ''));
archive_mode = on
archive_command = '$command'
autovacuum = off
log_statement = none
log_error_verbosity = default
CONF
	return;
}

# ---- running pitr ---------------------------------------------------------------------------

# $t->pitr([\%opt,] COMMAND, ARG…): runs it, returns [exit code, stdout, stderr].
# opt: cwd, env, timeout, config
sub pitr
{
	my $self = shift;
	my %opt = ref $_[0] eq 'HASH' ? %{ shift @_ } : ();
	my $config = $opt{config} || $self->{conf_file};
	return [ run_cmd(\%opt, $self->{bin}, '--config', $config, @_) ];
}

sub ok_pitr
{
	my $self = shift;
	my $result = $self->pitr(@_);
	my @args = grep { !ref } @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exit($result, 0, "pitr $args[0]");
	return $result;
}

sub json
{
	my ($self, @args) = @_;
	my $result = $self->ok_pitr(@args, '--json');
	my $value = eval { JSON::PP->new->utf8->decode($result->[1]) };
	ok(ref $value, "pitr $args[0] --json prints one JSON document") or diag("$@\n$result->[1]");
	return $value || {};
}

# archive and fetch as PostgreSQL calls them: in the data directory.
sub archive_file
{
	my ($self, $path) = @_;
	return $self->pitr({ cwd => $self->data_dir }, 'archive', $path);
}

sub fetch
{
	my ($self, $name, $path, %opt) = @_;
	return $self->pitr({ cwd => $opt{cwd} || $self->data_dir, config => $opt{config} },
		'fetch', $name, $path);
}

# Starts pitr and kills it with signal 9 after so many seconds (undef: lets it run). Returns its exit
# code, 137 if the signal was in time.
sub kill_pitr
{
	my ($self, $after, $opt, @args) = @_;
	my $pid = fork();
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open(STDIN, '<', '/dev/null');
		chdir($opt->{cwd}) or POSIX::_exit(99) if $opt->{cwd};
		exec($self->{bin}, '--config', $self->{conf_file}, @args) or POSIX::_exit(99);
	}
	if (defined $after)
	{
		usleep(int($after * 1e6));
		kill(9, $pid);
	}
	waitpid($pid, 0);
	return $? & 127 ? 128 + ($? & 127) : $? >> 8;
}

# ---- SQL ------------------------------------------------------------------------------------

sub sql
{
	my ($self, $sql, $node) = @_;
	return ($node || $self->{node})->safe_psql('postgres', $sql);
}

# Number and digest of a table's rows, whatever their physical order.
sub fingerprint
{
	my ($self, $table, $node) = @_;
	return $self->sql(<<SQL, $node);
SELECT count(*) || ' ' || coalesce(md5(string_agg(r, chr(10) ORDER BY r)), '-')
FROM (SELECT x::text COLLATE "C" AS r FROM $table x) rows
SQL
}

# Now, by the server's clock; two servers' moments apart from anything before and after.
sub moment
{
	my ($self) = @_;
	my $now = $self->sql("SELECT pg_sleep(0.02); SELECT to_char(clock_timestamp() AT TIME ZONE "
		. "'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00'");
	$self->sql('SELECT pg_sleep(0.02)');
	$now =~ s/^\s+//;
	return $now;
}

sub timeline
{
	my ($self, $node) = @_;
	return $self->sql(
		'SELECT timeline_id FROM pg_control_checkpoint()', $node);
}

# ---- WAL ------------------------------------------------------------------------------------

# Finishes the current segment; returns its name.
sub switch
{
	my ($self, $node) = @_;
	my $out = $self->sql(<<'SQL', $node);
SELECT 1 FROM pg_logical_emit_message(false, 'test', 'tick');
SELECT pg_walfile_name(pg_current_wal_insert_lsn());
SELECT 1 FROM pg_switch_wal();
SQL
	return (split /\n/, $out)[1];
}

sub wait_archived
{
	my ($self, $name, $node) = @_;
	$node ||= $self->{node};
	return $node->poll_query_until('postgres',
		"SELECT coalesce(last_archived_wal, '') COLLATE \"C\" >= '$name' FROM pg_stat_archiver")
	  || die "timed out waiting for $name to be archived";
}

# Switches WAL and waits until everything so far is archived; returns the last segment's name.
sub archive
{
	my ($self, $node) = @_;
	my $name = $self->switch($node);
	$self->wait_archived($name, $node);
	return $name;
}

# ---- what the repository holds --------------------------------------------------------------

# The keys of this cluster's system begin with this.
sub prefix
{
	my ($self) = @_;
	my @found = grep { /-/ } $self->{store}->folders("v1/$self->{cluster}");
	croak("expected one system below v1/$self->{cluster}, found: @found") unless @found == 1;
	return "v1/$self->{cluster}/$found[0]";
}

# Every key in the repository, or below a folder of it, sorted.
sub objects
{
	my ($self, $below) = @_;
	return $self->{store}->list($below);
}

# key => what tells a written object from one that was left alone: equal means nothing was written.
sub snapshot
{
	my ($self, $below) = @_;
	return $self->{store}->state($below);
}

# The keys under which a WAL file is stored.
sub stored
{
	my ($self, $name) = @_;
	my $wal = $self->prefix . '/wal';
	return grep { m{^\Q$wal/$name\E[^/]*$} } $self->objects($wal) if $name =~ /\.history$/;
	my $folder = "$wal/" . substr($name, 0, 16);
	return grep { m{^\Q$folder/$name\E-[^/]*\.lz4$} } $self->objects($folder);
}

sub stored_segments
{
	my ($self) = @_;
	my @found = map { m{/([0-9A-F]{24})-[0-9a-f]{16}\.lz4$} ? $1 : () } $self->objects;
	return @found;
}

# The plain content of an lz4 object.
sub unlz4
{
	my ($self, $key) = @_;
	my ($out, $err);
	my $file = $self->{store}->file($key);
	my $good = IPC::Run::run([ 'lz4', '-dcq', $file ], '>', \$out, '2>', \$err);
	unlink $file if $self->{store}->is_s3;
	return $good ? $out : croak "lz4 -dc $key: $err";
}

# Files with the packs of a backup, in order, to be read only.
sub pack_files
{
	my ($self, $label, $of) = @_;
	my $folder = $self->prefix . "/base/$label";
	return map { $self->{store}->file($_) }
	  grep { m{/\Q@{[$of || 'base']}\E-\d{8}\.tar\.lz4$} } $self->objects($folder);
}

# Labels of finished backups.
sub labels
{
	my ($self) = @_;
	my @found = map { m{/base/([^/]+)/backup\.json$} ? $1 : () } $self->objects;
	return @found;
}

# ---- backup and restore ---------------------------------------------------------------------

# Takes a backup that must succeed; returns its label.
sub backup
{
	my ($self, @args) = @_;
	my %before = map { $_ => 1 } $self->labels;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$self->ok_pitr('backup', @args);
	my @new = grep { !$before{$_} } $self->labels;
	is(scalar(@new), 1, 'one new backup') or croak 'no new backup in ' . $self->{store}->url;
	return $new[0];
}

# A node object whose data directory is still to be made.
sub target
{
	my ($self, $name) = @_;
	my $node = $self->new_node($name || 'copy' . ++$made);
	return $node;
}

# Restores into a new directory, which must succeed; returns the node, not started.
sub restore
{
	my ($self, $name, @args) = @_;
	my $node = $self->target($name);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$self->{last_restore} =
	  $self->ok_pitr('restore', '--data-directory', $node->data_dir, @args);
	return $node;
}

# Holds the files of a restored, never started data directory against PostgreSQL's manifest.
sub verify_files
{
	my ($self, $dir, $label, @options) = @_;
	my $manifest = "$self->{base}/manifest." . ++$made;
	spit($manifest, $self->unlz4($self->prefix . "/base/$label/backup_manifest.lz4"));
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is_exit(
		[   run_cmd($self->bin('pg_verifybackup'),
				'--no-parse-wal', "--manifest-path=$manifest", @options, $dir)
		],
		0, "pg_verifybackup of $label");
}

# A program of this cluster's PostgreSQL.
sub bin
{
	my ($self, $program) = @_;
	return $self->{install} ? "$self->{install}/bin/$program" : $program;
}

# The backup that a restored directory came from: pitr's label is in PostgreSQL's backup_label.
sub label_of
{
	my ($self, $dir) = @_;
	my ($label) = slurp("$dir/backup_label") =~ /^LABEL: .*?(\d{8}T\d{6}Z-\w+)$/m;
	return $label;
}

# Makes a restored data directory startable beside others: its own port and socket.
sub settle
{
	my ($self, $node) = @_;
	my ($port, $host) = ($node->port, $node->host);
	$node->append_conf('postgresql.conf',
		"port = $port\nunix_socket_directories = '$host'\nlisten_addresses = ''\n");
	return;
}

# Starts a restored node that was told to promote, after holding it against the manifest, and
# waits until it is open for writing.
#   label => LABEL     the backup it came from (default: the only one)
#   verify => […]      options of pg_verifybackup; 0: don't
#   paused => 1        it stops at the target instead
sub boot
{
	my ($self, $node, %opt) = @_;
	my $label = $opt{label} || ($self->labels)[-1];
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$self->verify_files($node->data_dir, $label, @{ $opt{verify} || [] })
	  unless defined $opt{verify} && !$opt{verify};
	$self->settle($node);
	$node->start;
	my $wanted = $opt{paused}
	  ? 'SELECT pg_is_in_recovery() AND pg_is_wal_replay_paused()'
	  : 'SELECT NOT pg_is_in_recovery()';
	ok($node->poll_query_until('postgres', $wanted),
		$node->name . ($opt{paused} ? ' stops at its target' : ' is open'));
	return $node;
}

# Starts a server that will end by itself and waits for that; false if it goes on. (A node's own
# start bails out if the server is gone when it looks.)
sub run_to_end
{
	my ($self, $node) = @_;
	run_cmd($self->bin('pg_ctl'), '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start');
	my $pid_file = $node->data_dir . '/postmaster.pid';
	return wait_until { !-e $pid_file } 60;
}

# Heap and indexes of every table: pg_amcheck, or what amcheck of 13 can do.
sub amcheck
{
	my ($self, $node) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	if (!$self->has_contrib)
	{
		skip_loudly("PostgreSQL $self->{major}: this build has no amcheck");
		return;
	}
	if ($self->{major} < 14)
	{
		my $bad = eval { $self->sql(<<'SQL', $node); 1 };
SELECT bt_index_check(c.oid, true) FROM pg_class c
JOIN pg_am a ON a.oid = c.relam JOIN pg_index i ON i.indexrelid = c.oid
WHERE a.amname = 'btree' AND c.relpersistence = 'p' AND i.indisvalid
SQL
		return ok($bad, 'amcheck of every index') || diag($@);
	}
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port);
	my @missing = $self->sql('SELECT pg_is_in_recovery()', $node) eq 't' ? () : '--install-missing';
	return is_exit(
		[ run_cmd($self->bin('pg_amcheck'), '--heapallindexed', @missing, '-d', 'postgres') ],
		0, 'pg_amcheck');
}

1;
