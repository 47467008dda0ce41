package PitrStore;

=head1 NAME

PitrStore - the place where a test's repository lies: a directory or a prefix in a bucket

=head1 SYNOPSIS

    my $store = PitrStore->directory("$base/repo");
    my $store = PitrStore->bucket('name', "$base/repo");      # makes the bucket; needs tests/run's server

    print $store->section('main');                  # [repo:main] with url, endpoint, credentials …
    my @keys = $store->list('v1/main');             # below a folder, sorted
    my $content = $store->get($key);                # take, put, delete, flip, cut, copy
    $store->forbid('read'); $store->allow;          # what pitr may do, from now on

    my $r = $store->s3('put_bucket_versioning', Bucket => $store->name, …);   # any call of boto3

=head1 DESCRIPTION

What tests do behind pitr's back goes through these methods, so that they run on both kinds. Keys are
relative to the repository ("v1/main/15-7…/wal/…"). A bucket is reached with another client than
pitr's own (tests/lib/s3-client). Errors are exceptions.

=cut

use strict;
use warnings;

use Carp;

sub directory
{
	my ($class, $path) = @_;
	return bless { path => $path, url => "file://$path" }, 'PitrStore::Directory';
}

sub bucket
{
	my ($class, $name, $scratch, %opt) = @_;
	my $self = bless { name => $name, prefix => 'team/prod', scratch => $scratch },
	  'PitrStore::Bucket';
	$self->set_url;
	$self->make(%opt);
	return $self;
}

sub url { return $_[0]->{url}; }
sub is_s3 { return 0; }

# A section of pitr's configuration for this place.
sub section
{
	my ($self, $repo) = @_;
	return "[repo:$repo]\nurl = $self->{url}\n";
}

# Changes one byte of an object, at the given fraction of its length.
sub flip
{
	my ($self, $key, $where) = @_;
	my $content = $self->get($key);
	my $at = int((length($content) - 1) * (defined $where ? $where : 0.5));
	substr($content, $at, 1) = chr(ord(substr($content, $at, 1)) ^ 0x41);
	return $self->put($key, $content);
}

# Cuts an object to so many bytes; negative: so many off its end.
sub cut
{
	my ($self, $key, $size) = @_;
	return $self->put($key, substr($self->get($key), 0, $size));
}

sub copy
{
	my ($self, $from, $to) = @_;
	return $self->put($to, $self->get($from));
}

# Removes an object; returns its content, so that put can bring it back.
sub take
{
	my ($self, $key) = @_;
	my $content = $self->get($key);
	$self->delete($key);
	return $content;
}

# ---- a directory ----------------------------------------------------------------------------

package PitrStore::Directory;

use parent -norequire, 'PitrStore';

use Carp;
use File::Basename qw(dirname);
use File::Find ();
use File::Path qw(make_path remove_tree);

sub path { return $_[0]->{path}; }

sub is_there { return -e $_[0]->{path}; }
sub make { return mkdir $_[0]->{path}, 0700; }

# Removes the place, whatever is in it.
sub remove { return remove_tree($_[0]->{path}); }

sub list
{
	my ($self, $below) = @_;
	my $top = $self->{path} . (defined $below ? "/$below" : '');
	my @found;
	return () unless -d $top;
	File::Find::find({ no_chdir => 1, wanted => sub {
		push @found, substr($_, length($self->{path}) + 1) if -f $_;
	} }, $top);
	@found = sort @found;
	return @found;
}

# Names of the folders directly below a folder.
sub folders
{
	my ($self, $below) = @_;
	opendir(my $dir, "$self->{path}/$below") or return ();
	my @found = sort grep { !/^\./ && -d "$self->{path}/$below/$_" } readdir($dir);
	return @found;
}

# key => what changes when the object is written again.
sub state
{
	my ($self, $below) = @_;
	my %seen = map { my @s = CORE::stat("$self->{path}/$_"); ($_ => "$s[7] $s[9] $s[1]") }
	  $self->list($below);
	return \%seen;
}

# A file with the object's content, to be read only.
sub file
{
	my ($self, $key) = @_;
	return "$self->{path}/$key";
}

sub get
{
	my ($self, $key) = @_;
	open(my $fh, '<:raw', "$self->{path}/$key") or croak "$key: $!";
	local $/;
	my $content = <$fh>;
	return defined $content ? $content : '';
}

sub put
{
	my ($self, $key, $content) = @_;
	my $file = "$self->{path}/$key";
	make_path(dirname($file));
	unlink $file;
	open(my $fh, '>:raw', $file) or croak "$file: $!";
	print $fh $content;
	close $fh or croak "$file: $!";
	return;
}

sub delete
{
	my ($self, @keys) = @_;
	for my $key (@keys)
	{
		unlink("$self->{path}/$key") or croak "$key: $!";
		# a folder that holds nothing is not there, as in a bucket
		for (my $dir = dirname($key); $dir =~ m{/} && rmdir("$self->{path}/$dir");)
		{
			$dir = dirname($dir);
		}
	}
	return;
}

sub clear { return remove_tree($_[0]->{path}, { keep_root => 1 }); }

# Takes the right to 'read' or 'write' below a folder away, until allow.
sub forbid
{
	my ($self, $what, $below) = @_;
	my @dirs;
	File::Find::find({ no_chdir => 1, wanted => sub { push @dirs, $_ if -d $_ } },
		"$self->{path}/$below");
	push @{ $self->{forbidden} }, @dirs;
	chmod($what eq 'read' ? 0000 : 0500, $_) for reverse @dirs;
	return;
}

sub allow
{
	my ($self) = @_;
	chmod(0700, $_) for @{ $self->{forbidden} };
	$self->{forbidden} = [];
	return;
}

# Another place with this name: empty, not made yet, but pitr may make it.
sub sibling
{
	my ($self, $name) = @_;
	return PitrStore->directory("$self->{path}-$name");
}

# A place that is not there. For a directory the same.
sub missing { return $_[0]->sibling('missing'); }

# Another place with the same content.
sub clone
{
	my ($self, $name) = @_;
	my $other = $self->sibling($name);
	system('cp', '-r', $self->{path}, $other->{path}) == 0 or croak 'cp failed';
	return $other;
}

# A directory with all that is stored.
sub download { return $_[0]->{path}; }

# ---- a bucket -------------------------------------------------------------------------------

package PitrStore::Bucket;

use parent -norequire, 'PitrStore';

use Carp;
use File::Basename qw(basename dirname);
use File::Path qw(make_path);
use IPC::Open2 qw(open2);
use JSON::PP ();

my $json = JSON::PP->new->utf8->canonical;
my %client;    # by process: a child of the test must not write into its parent's pipe
my $made = 0;

sub is_s3 { return 1; }
sub name { return $_[0]->{name}; }
sub prefix { return $_[0]->{prefix}; }

sub set_url
{
	my ($self) = @_;
	$self->{url} = "s3://$self->{name}/$self->{prefix}";
	return;
}

# $store->s3([USER,] OPERATION, ARGUMENT => VALUE…): any call of boto3's client, by default as the
# user "main". Returns its answer; a refusal is an exception that begins with the error's code.
sub s3
{
	my ($self, @call) = @_;
	my $user = @call % 2 ? 'main' : shift @call;
	my ($operation, %args) = @call;
	my $r = $self->try_s3($user, $operation, %args);
	croak "$r->{error}: $operation by $user: " . ($r->{message} || "status $r->{status}")
	  if $r->{error};
	return $r->{ok};
}

# The same with the user always given; returns {ok => …} or {error, status, message}.
sub try_s3
{
	my ($self, $user, $operation, %args) = @_;
	my ($out, $in) = @{ $client{$$} ||= start_client() };
	my $line = do {
		local $SIG{PIPE} = 'IGNORE';
		print $in $json->encode([ $user, $operation, \%args ]) . "\n";
		<$out>;
	};
	croak 's3-client has ended' unless defined $line;
	return $json->decode($line);
}

sub start_client
{
	# the path of the system's own: what a user has put before it may lack boto3
	my $pid = open2(my $out, my $in, '/usr/bin/python3', dirname(__FILE__) . '/s3-client');
	$in->autoflush(1);
	return [ $out, $in, $pid ];
}

END
{
	local $?;
	my $mine = $client{$$} or return;
	close $mine->[1];
	waitpid($mine->[2], 0);
}

sub section
{
	my ($self, $repo) = @_;
	return $self->SUPER::section($repo) . <<CONF;
endpoint = $ENV{PITR_S3_ENDPOINT}
region = $ENV{PITR_S3_REGION}
ca-file = $ENV{PITR_S3_CA}
credentials-file = @{[$self->credentials]}
io-timeout = 20s
CONF
}

# A file with the keys of a user of the server.
sub credentials
{
	my ($self, $user) = @_;
	my $file = "$self->{scratch}/credentials" . ($user ? ".$user" : '');
	return $file if -e $file;
	make_path($self->{scratch});
	my $which = 'PITR_S3_' . ($user ? uc($user) . '_' : '');
	open(my $fh, '>', $file) or croak "$file: $!";
	chmod 0600, $file;
	print $fh "[default]\naws_access_key_id = $ENV{\"${which}KEY\"}\n",
	  "aws_secret_access_key = $ENV{\"${which}SECRET\"}\n";
	close $fh or croak "$file: $!";
	return $file;
}

sub key
{
	my ($self, $key) = @_;
	return "$self->{prefix}/$key";
}

sub make
{
	my ($self, %opt) = @_;
	return $self->s3('create_bucket', Bucket => $self->{name}, %opt);
}

sub is_there
{
	my ($self) = @_;
	return !$self->try_s3('main', 'head_bucket', Bucket => $self->{name})->{error};
}

sub remove
{
	my ($self) = @_;
	$self->s3('empty', Bucket => $self->{name});
	return $self->s3('delete_bucket', Bucket => $self->{name});
}

sub listing
{
	my ($self, $below) = @_;
	my $folder = $self->key(defined $below ? "$below/" : '');
	my $found = $self->s3('keys', Bucket => $self->{name}, Prefix => $folder);
	$_->[0] = substr($_->[0], length($self->{prefix}) + 1) for @$found;
	return @$found;
}

sub list
{
	my ($self, $below) = @_;
	my @found = sort map { $_->[0] } $self->listing($below);
	return @found;
}

sub folders
{
	my ($self, $below) = @_;
	my $folder = $self->key("$below/");
	my $r = $self->s3('list_objects_v2', Bucket => $self->{name}, Prefix => $folder, Delimiter => '/');
	my @found = map { $_->{Prefix} =~ m{([^/]+)/$} } @{ $r->{CommonPrefixes} || [] };
	return @found;
}

sub state
{
	my ($self, $below) = @_;
	my %seen = map { my ($key, @rest) = @$_; ($key => "@rest") } $self->listing($below);
	return \%seen;
}

sub file
{
	my ($self, $key) = @_;
	my $file = "$self->{scratch}/$$." . ++$made . '/' . basename($key);
	make_path(dirname($file));
	$self->s3('get_object', Bucket => $self->{name}, Key => $self->key($key), _into => $file);
	return $file;
}

sub get
{
	my ($self, $key) = @_;
	my $file = $self->file($key);
	open(my $fh, '<:raw', $file) or croak "$file: $!";
	unlink $file;
	local $/;
	my $content = <$fh>;
	return defined $content ? $content : '';
}

sub put
{
	my ($self, $key, $content, %opt) = @_;
	my $file = "$self->{scratch}/$$." . ++$made;
	make_path($self->{scratch});
	open(my $fh, '>:raw', $file) or croak "$file: $!";
	print $fh $content;
	close $fh or croak "$file: $!";
	$self->s3('put_object', Bucket => $self->{name}, Key => $self->key($key), _from => $file, %opt);
	unlink $file;
	return;
}

sub delete
{
	my ($self, @keys) = @_;
	return unless @keys;
	return $self->s3('delete_keys', Bucket => $self->{name}, Keys => [ map { $self->key($_) } @keys ]);
}

sub clear
{
	my ($self) = @_;
	return $self->delete($self->list);
}

sub copy
{
	my ($self, $from, $to, $other) = @_;
	$other ||= $self;
	return $self->s3('copy_object', Bucket => $other->{name}, Key => $other->key($to),
		CopySource => { Bucket => $self->{name}, Key => $self->key($from) });
}

# By the bucket's policy, which also binds its owner.
sub forbid
{
	my ($self, $what, $below) = @_;
	my $bucket = "arn:aws:s3:::$self->{name}";
	return $self->policy({
		Effect => 'Deny',
		Principal => '*',
		Action => $what eq 'read' ? [ 's3:GetObject', 's3:ListBucket' ] : ['s3:PutObject'],
		Resource => [ $bucket, "$bucket/" . $self->key("$below/*") ]
	});
}

sub allow { return $_[0]->s3('delete_bucket_policy', Bucket => $_[0]->{name}); }

# Gives the bucket a policy of these statements.
sub policy
{
	my ($self, @statements) = @_;
	return $self->s3('put_bucket_policy', Bucket => $self->{name},
		Policy => $json->encode({ Version => '2012-10-17', Statement => \@statements }));
}

sub sibling
{
	my ($self, $name) = @_;
	my $other = bless { %$self, prefix => "$self->{prefix}-$name" }, ref $self;
	$other->set_url;
	return $other;
}

sub missing
{
	my ($self) = @_;
	my $other = bless { %$self, name => "$self->{name}-missing" }, ref $self;
	$other->set_url;
	return $other;
}

sub clone
{
	my ($self, $name) = @_;
	my $other = PitrStore->bucket("$self->{name}-$name", $self->{scratch});
	$self->copy($_, $_, $other) for $self->list;
	return $other;
}

# By rclone, as a person would.
sub download
{
	my ($self, $to) = @_;
	my %option = (provider => 'Ceph', endpoint => $ENV{PITR_S3_ENDPOINT},
		region => $ENV{PITR_S3_REGION}, access_key_id => $ENV{PITR_S3_KEY},
		secret_access_key => $ENV{PITR_S3_SECRET}, type => 's3');
	local %ENV = (%ENV, RCLONE_CA_CERT => $ENV{PITR_S3_CA}, RCLONE_CONFIG => '/dev/null',
		map { ('RCLONE_CONFIG_THERE_' . uc($_) => $option{$_}) } keys %option);
	system('rclone', '--retries=1', 'copy', "there:$self->{name}/$self->{prefix}", $to) == 0
	  or croak 'rclone failed';
	return $to;
}

1;
