# Permissions: what the policies of contrib/s3 permit is enough, and no more; what each command does
# without one that it needs; the script that sets a bucket up.
use strict;
use warnings;
use FaultProxy;
use JSON::PP ();
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

need_s3();

my $json = JSON::PP->new->utf8->canonical;
my $contrib = "$ENV{PITR_TEST_TOP}/contrib/s3";

my $t = PitrTest->new('main', s3 => 1, start => 0);
my $store = $t->store;
my $wal = $t->data_dir . '/pg_wal';
my $aside = PostgreSQL::Test::Utils::tempdir('aside');

# ---- users and their rights

# A configuration with a user's keys. Each has a cache of its own, as on hosts of their own.
sub conf_of
{
	my ($user, $change) = @_;
	my $text = slurp($t->config_file);
	my $file = $store->credentials($user);
	$text =~ s/^credentials-file = .*$/credentials-file = $file/m;
	$text =~ s/^(\[repo:main\]\n)/$1$change/m if $change;
	return spit("$t->{base}/$user" . ($change ? length $change : '') . '.conf', $text);
}

sub as
{
	my ($user, @args) = @_;
	my %opt = ref $args[0] eq 'HASH' ? %{ shift @args } : ();
	return $t->pitr({ config => conf_of($user), cwd => $t->data_dir,
		env => { XDG_CACHE_HOME => "$t->{base}/cache.$user" }, %opt }, @args);
}

# The statements of one of contrib's policies, granted to a user.
sub granted
{
	my ($file, $user) = @_;
	my $text = slurp("$contrib/$file.json");
	$text =~ s/BUCKET/$store->name/ge;
	$text =~ s/PREFIX/$store->prefix/ge;
	my $policy = $json->decode($text);
	$_->{Principal} = { AWS => $ENV{ 'PITR_S3_' . uc($user) . '_ARN' } } for @{ $policy->{Statement} };
	return @{ $policy->{Statement} };
}

# Before it had accounts Ceph made whoever writes an object its owner, who may read it. And a
# bucket's owner may not read what others wrote there.
my $owner = { Effect => 'Allow', Principal => { AWS => $ENV{PITR_S3_ARN} }, Action => 's3:*',
	Resource => [ map { 'arn:aws:s3:::' . $store->name . $_ } '', '/*' ] };

sub no_reading
{
	my ($user, @what) = @_;
	return { Effect => 'Deny', Principal => { AWS => $ENV{ 'PITR_S3_' . uc($user) . '_ARN' } },
		Action => 's3:GetObject', Resource => [ map { 'arn:aws:s3:::' . $store->name . "/$_" } @what ] };
}

my @no_reading = no_reading('putter', '*.lz4', '*.json', '*x', '*.pitr-probe*');
my @archiver = (granted('policy-archiver', 'putter'), @no_reading);
my @reader = granted('policy-reader', 'reader');
my @expirer = granted('policy-expirer', 'expirer');

# A policy without some actions.
sub without
{
	my ($out, @statements) = @_;
	my @kept;
	for my $s (@statements)
	{
		my @actions = grep { $_ !~ /^s3:($out)$/ } ref $s->{Action} ? @{ $s->{Action} } : $s->{Action};
		push @kept, { %$s, Action => \@actions } if @actions;
	}
	return @kept;
}

sub may
{
	my ($user, $operation, %args) = @_;
	my $r = $store->try_s3($user, $operation, Bucket => $store->name, %args);
	return 'yes' unless $r->{error};
	return $r->{status} == 403 ? 'no' : "$r->{status} $r->{error}";
}

$store->policy($owner, @archiver, @reader, @expirer);

# ---- with another client: the policies permit what they say

{
	my %here = (Key => $store->key('v1/x'), Body => 'x');
	my $below = $store->key('');
	my $file = { Key => $store->key('v1/main/15-7/wal/00000002.history') };
	is(may('putter', 'put_object', %here), 'yes', 'the archiver may write');
	is(may('putter', 'put_object', %here, Key => 'elsewhere'), 'no', 'but nowhere else');
	is(may('putter', 'get_object', Key => $here{Key}), 'no', 'nor read');
	is(may('putter', 'list_objects_v2', Prefix => $below), 'no', 'nor list');
	is(may('putter', 'list_object_versions', Prefix => $below), 'no', 'nor list versions');
	is(may('putter', 'delete_object', Key => $here{Key}), 'no', 'nor delete');
	is(may('putter', 'put_bucket_lifecycle_configuration', LifecycleConfiguration => { Rules => [
		{ ID => 'evil', Status => 'Enabled', Filter => { Prefix => '' },
			Expiration => { Days => 1 } }
	] }), 'no', 'nor have it deleted by a rule');
	is(may('putter', 'put_object', %$file, Body => 'x'), 'yes', 'it may write history files');
	is(may('putter', 'get_object', %$file), 'yes', 'and read them');

	is(may('reader', 'get_object', Key => $here{Key}), 'yes', 'the reader may read');
	is(may('reader', 'list_objects_v2', Prefix => "${below}v1/"), 'yes', 'and list');
	is(may('reader', 'list_object_versions', Prefix => "${below}v1/"), 'yes', 'versions, too');
	is(may('reader', 'list_objects_v2', Prefix => 'other/'), 'no', 'but nowhere else');
	is(may('reader', 'put_object', %here), 'no', 'nor write');
	is(may('reader', 'delete_object', Key => $here{Key}), 'no', 'nor delete');
	is(may('reader', 'get_bucket_lifecycle_configuration'), '404 NoSuchLifecycleConfiguration',
		'it may see the settings of the bucket');

	is(may('expirer', 'list_objects_v2', Prefix => "${below}v1/"), 'yes', 'the expirer may list');
	is(may('expirer', 'put_object', %here), 'no', 'not write');
	is(may('expirer', 'delete_object', Key => $_), 'yes', 'and delete') for $here{Key},
		$file->{Key};
}

# ---- archiving with Put alone

my $putter_conf = conf_of('putter');
$t->node->append_conf('postgresql.conf',
	"archive_command = '$t->{bin} --config $putter_conf archive %p'\n");
$t->node->start;
$t->sql('CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g');
my $segment = $t->archive;
my @stored = $t->stored($segment);
is(scalar(@stored), 1, 'the server archives with Put alone');
my $raw = $t->unlz4($stored[0]);
is(length($raw), 16 << 20, 'whole segments');

# A segment of our own: number => name and file.
sub make_segment
{
	my ($number, $change) = @_;
	my $name = sprintf('0000000100000000%08X', $number);
	my $content = $raw;
	substr($content, 8, 8) = pack('Q<', $number << 24);    # xlp_pageaddr
	substr($content, 9_000_000, 4) = $change if $change;
	return ($name, spit("$aside/$name", $content));
}

# The only stored content of a segment is that of the file.
sub stored_once
{
	my ($name, $file, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @keys = $t->stored($name);
	return ok(@keys == 1 && $t->unlz4($keys[0]) eq slurp($file), "$what: stored once, and right")
	  || diag("stored: @keys");
}

{
	my ($name, $file) = make_segment(0xE0);
	is_exit(as('putter', 'archive', $file), 0, 'a segment');
	stored_once($name, $file, 'a segment');
	my $before = $t->snapshot;
	is_exit(as('putter', 'archive', $file), 0, 'the same again');
	is_exit(as('putter', { env => { XDG_CACHE_HOME => "$t->{base}/new" } }, 'archive', $file),
		0, 'and from a host that remembers nothing');
	is_deeply($t->snapshot, $before, 'nothing was written');
}

{
	my ($name, $file) = make_segment(0xE1);
	my @pids;
	for my $host (1 .. 3)
	{
		my $pid = fork();
		die "fork: $!" unless defined $pid;
		if ($pid == 0)
		{
			chdir $t->data_dir;
			$ENV{XDG_CACHE_HOME} = "$t->{base}/cache.$host";
			open(STDERR, '>', "$t->{base}/archiver$host");
			exec($t->{bin}, '--config', $putter_conf, 'archive', $file) or POSIX::_exit(99);
		}
		push @pids, $pid;
	}
	for my $i (0 .. $#pids)
	{
		waitpid($pids[$i], 0);
		is($?, 0, 'archivers at the same time: exit 0') or diag(slurp("$t->{base}/archiver" . ($i + 1)));
	}
	stored_once($name, $file, 'archivers at the same time');
}

# kill -9 between upload and answer: the object is stored, and nobody knows.
{
	my $proxy = FaultProxy->new;
	my ($name, $file) = make_segment(0xE5);
	my $conf = spit("$t->{base}/proxy.conf", slurp($putter_conf)
		=~ s/^endpoint = .*$/endpoint = https:\/\/127.0.0.1:$proxy->{port}/mr);
	$proxy->rules({ method => '^PUT$', key => $name, do => 'stall_head', wait => 60 });
	my $pid = fork();
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		chdir $t->data_dir;
		exec($t->{bin}, '--config', $conf, 'archive', $file) or POSIX::_exit(99);
	}
	ok(wait_until(sub { $t->stored($name) }, 20), 'a segment is stored');
	kill(9, $pid);
	waitpid($pid, 0);
	is($? & 127, 9, 'kill -9 before the answer');
	is_exit(as('putter', 'archive', $file), 0, 'the next call finds it safe');
	stored_once($name, $file, 'after it');
}

# And at any moment.
{
	my $there = 0;
	for my $i (1 .. rounds(4, 40))
	{
		my ($name, $file) = make_segment(0x80 + $i);
		local $ENV{XDG_CACHE_HOME} = "$t->{base}/cache.putter";
		local $t->{conf_file} = $putter_conf;
		my $rc = $t->kill_pitr(0.03 + lots(0.12), { cwd => $t->data_dir }, 'archive', $file);
		my @keys = $t->stored($name);
		$there++ if @keys && $rc == 137;
		is_exit(as('putter', 'archive', $file), 0,
			'after kill -9 (' . (@keys ? '' : 'not ') . 'stored)');
		stored_once($name, $file, 'after kill -9');
	}
	note("$there of them were killed after their object was stored");
}

# ---- a second content of a segment

{
	my ($name, $file) = make_segment(0xE2);
	is_exit(as('putter', 'archive', $file), 0, 'a segment');
	make_segment(0xE2, 'evil');
	my $r = as('putter', 'archive', $file);
	is_exit($r, 0, 'who may not list stores another content beside it');
	is(scalar(my @both = $t->stored($name)), 2, 'nothing is overwritten');
	$r = as('reader', 'fetch', $name, 'pg_wal/fetched');
	is_exit($r, 206, 'fetch refuses both');
	like_error($r, qr/\Q$name\E.*different contents/, 'two contents');
	ok(!-e $t->data_dir . '/pg_wal/fetched', 'and serves nothing');
	like(as('reader', 'info')->[1], qr/CONFLICT/, 'info shows it');
	$r = as('reader', 'check');
	is_exit($r, 1, 'check finds it');
	like($r->[1], qr/BAD .*\Q$name\E/, 'and names it');

	# who may list refuses at once
	$store->policy($owner, granted('policy-backup', 'putter'), @no_reading, @reader);
	($name, $file) = make_segment(0xE3);
	is_exit(as('putter', 'archive', $file), 0, 'a segment');
	is_exit(as('putter', 'archive', $file), 0, 'the same again');
	make_segment(0xE3, 'evil');
	$r = as('putter', 'archive', $file);
	is_exit($r, 3, 'who may list refuses another content');
	like_error($r, qr/other content/, 'another content');
	is(scalar(@both = $t->stored($name)), 1, 'and stores nothing');
	$store->delete($t->stored('0000000100000000000000E2'));
	$store->policy($owner, @archiver, @reader, @expirer);
}

# ---- history files: one key for all contents

{
	my $file = spit("$aside/0000000A.history", "9\t0/5000000\tno recovery target specified\n");
	is_exit(as('putter', 'archive', $file), 0, 'a history file');
	is_exit(as('putter', 'archive', $file), 0, 'the same again');
	spit($file, "9\t0/6000000\tno recovery target specified\n");
	my $r = as('putter', 'archive', $file);
	is_exit($r, 3, 'another one of this timeline');
	like_error($r, qr/0000000A\.history.*other content/, 'another history file');

	$store->policy($owner, without('GetObject', @archiver), no_reading('putter', '*'), @reader);
	$file = spit("$aside/0000000B.history", "9\t0/5000000\tno recovery target specified\n");
	is_exit(as('putter', 'archive', $file), 0, 'a history file, without the right to read it');
	$r = as('putter', 'archive', $file);
	is_exit($r, 3, 'the same again: what is stored can not be compared');
	like_error($r, qr/0000000B\.history.*AccessDenied/, 'without the right to read');
	like($r->[2], qr/^hint: /m, 'with a hint');
	$store->policy($owner, @archiver, @reader, @expirer);
	$store->delete(map { $t->stored("0000000$_.history") } qw(A B));
}

# ---- a large segment in parts

{
	my $size = 128 << 20;
	my $name = '000000010000000000000003';
	my $content = substr($raw, 0, 40);
	substr($content, 8, 8) = pack('Q<', 3 * $size);      # xlp_pageaddr
	substr($content, 32, 4) = pack('V', $size);          # xlp_seg_size
	open(my $random, '<:raw', '/dev/urandom') or die $!;
	read($random, my $rest, $size - length($content));
	my $file = spit("$aside/$name", $content . $rest);
	my $conf = conf_of('putter', "part-size = 5MiB\n");
	my $r = as('putter', { config => $conf }, 'archive', $file);
	is_exit($r, 0, 'a segment of 128 MiB in parts');
	stored_once($name, $file, 'in parts');
	my ($key) = $t->stored($name);
	my $etag = $store->s3('head_object', Bucket => $store->name, Key => $store->key($key))->{ETag};
	like($etag, qr/-2[5-9]"?$/, 'it came in parts of 5 MiB');
	is_exit(as('putter', { config => $conf }, 'archive', $file), 0, 'the same again');
	stored_once($name, $file, 'again');
	my $left = $store->s3('list_multipart_uploads', Bucket => $store->name)->{Uploads};
	is(scalar(@{ $left || [] }), 0, 'no unfinished upload is left');
	$store->delete($key);
}

# ---- backup with Put alone, restore with the reader's rights

# our own segments leave a gap
$store->delete(grep { m{/0000000100000000000000[89AE]} } $t->objects);

$t->sql("INSERT INTO t SELECT g, 'before' FROM generate_series(1, 1000) g");
$t->sql("ALTER SYSTEM SET archive_command = 'sleep 1; $t->{bin} --config $putter_conf archive %p'");
$t->sql('SELECT pg_reload_conf()');
my $r = as('putter', 'backup');
is_exit($r, 0, 'a backup with Put alone');
like($r->[2], qr/may not be listed.*server is asked to wait/,
	'leaves the wait for WAL to the server');
like($r->[2], qr{WAL \S+ to 0/([0-9A-F]+)}, 'and tells which WAL it needs');
my ($stop) = $r->[2] =~ m{WAL \S+ to 0/([0-9A-F]+)};
ok($t->stored(sprintf('0000000100000000%08X', hex($stop) >> 24)),
	'which is stored when it returns');
my ($label) = $t->labels;
$t->sql('ALTER SYSTEM RESET archive_command');
$t->sql('SELECT pg_reload_conf()');
$t->sql("INSERT INTO t SELECT g, 'after' FROM generate_series(1, 1000) g");
my $rows = $t->fingerprint('t');
my $last = $t->archive;
my $copy = $t->target('copy');
$r = as('reader', 'restore', '--data-directory', $copy->data_dir, '--target-action', 'promote');
is_exit($r, 0, 'the reader restores it');
like(slurp($copy->data_dir . '/postgresql.auto.conf'), qr/^restore_command = '.*reader\.conf/m,
	'and its WAL is fetched with the same keys');
$t->boot($copy, label => $label);
is($t->fingerprint('t', $copy), $rows, 'with every row');
$copy->stop;
is_exit(as('reader', 'info'), 0, 'the reader sees what is there');
like(as('reader', 'info')->[1], qr/\Q$label\E/, 'the backup among it');

$store->policy($owner, granted('policy-backup', 'putter'), @no_reading, @reader);
$r = as('putter', 'backup');
is_exit($r, 0, 'a backup with Put and List');
unlike($r->[2], qr/may not be listed/, 'waits for its WAL by itself');

# ---- from a standby nobody waits for the WAL

$t->node->backup('for_standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($t->node, 'for_standby', has_streaming => 1);
$standby->start;
{
	my ($host, $port) = ($standby->host, $standby->port);
	my $conf = slurp(conf_of('putter')) =~ s/^conninfo = .*$/conninfo = host=$host port=$port dbname=postgres/mr;
	$store->policy($owner, @archiver, @reader);
	my $before = $t->snapshot;
	my $r = as('putter', { config => spit("$t->{base}/standby.conf", $conf) }, 'backup');
	is_exit($r, 3, 'a backup from a standby with Put alone');
	like_error($r, qr/may not list/, 'from a standby');
	like($r->[2], qr/^hint: permit listing/m, 'with a hint');
	is_deeply([ sort grep { m{/base/} } keys %{ $t->snapshot } ],
		[ sort grep { m{/base/} } keys %$before ],
		'and nothing of it is stored');
}
$standby->stop;

# ---- the promoted one's history file, with Put alone

$store->policy($owner, @archiver, @reader, @expirer);
$t->node->stop;
$r = $t->pitr({ config => conf_of('reader') }, 'restore', '--force', '--as', 'production',
	'--target-action',
	'promote');
is_exit($r, 0, 'production is restored with the rights of a reader');
$t->node->start;
ok($t->node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'and opens');
$t->archive;
ok($t->stored('00000002.history'), 'its history file is archived with Put alone');

# ---- check says what is permitted

sub check_says
{
	my ($user, $rc, @patterns) = @_;
	my $r = as($user, 'check');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exit($r, $rc, "check as $user");
	like($r->[1], $_, "check as $user says so") for @patterns;
	return $r;
}

check_says('putter', 0, qr/may not list/, qr/may not read/);
check_says('reader', 0, qr/may not write/, qr/listing is permitted/, qr/reading is permitted/);
check_says('expirer', 0, qr/may not write/, qr/listing is permitted/);
$r = as('reader', { env => { XDG_CACHE_HOME => "$t->{base}/cache.putter" } }, 'check');
like($r->[1], qr/may not write/, 'also where an archiver has found that conditions hold');
is_exit(as('putter', 'check', '--json'), 0, 'check --json');

# ---- a permission is missing

sub refused
{
	my ($user, $args, $what, $action) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $r = as($user, @$args);
	is_exit($r, $args->[0] eq 'fetch' ? 203 : 3, $what);
	like_error($r, qr/AccessDenied/, $what);
	like($r->[2], qr/^hint: .*permi/mi, "$what: with a hint");
	return $r;
}

my ($free, $free_file) = make_segment(0xE4);
my @restore = ('restore', '--data-directory', "$t->{base}/no");

refused('reader', [ 'archive', $free_file ], 'archive without Put');
refused('reader', ['backup'], 'backup without Put');
refused('putter', ['info'], 'info without List');
refused('putter', \@restore, 'restore without List');
refused('putter', [ 'fetch', $last, 'pg_wal/fetched' ], 'fetch without List');
refused('putter', [ 'fetch', $free, 'pg_wal/fetched' ], 'fetch of what is not there, without List');

$store->policy($owner, without('GetObject', @reader), no_reading('reader', '*'));
refused('reader', ['info'], 'info without Get');
refused('reader', \@restore, 'restore without Get');
refused('reader', [ 'fetch', $last, 'pg_wal/fetched' ], 'fetch without Get');

$store->policy($owner, without('ListBucket', @reader));
refused('reader', ['info'], 'info without List');
refused('reader', [ 'fetch', $last, 'pg_wal/fetched' ], 'fetch with Get alone');
refused('reader', [ 'fetch', '0000000F.history', 'pg_wal/fetched' ], 'of a history file');

$store->policy($owner);
refused('putter', [ 'archive', $free_file ], 'archive without any right');
refused('putter', ['backup'], 'backup without any right');
refused('reader', ['info'], 'info without any right');
refused('reader', \@restore, 'restore without any right');
spit($t->data_dir . '/recovery.signal', '');
refused('reader', [ 'fetch', $last, 'pg_wal/fetched' ], 'fetch without any right, in recovery');
unlink $t->data_dir . '/recovery.signal';
isnt(as('reader', 'check')->[0], 0, 'check of keys that are good for nothing');
ok(!-e "$t->{base}/no", 'no restore wrote anything');
ok(!-e $t->data_dir . '/pg_wal/fetched', 'no fetch served anything');
is(scalar(my @none = $t->stored($free)), 0, 'nothing was archived');

# what is not below the permitted prefix
$store->policy($owner, @archiver, @reader);
my $elsewhere = $store->sibling('elsewhere');
sub moved
{
	my ($user) = @_;
	my $url = $elsewhere->url;
	return spit("$t->{base}/moved.$user.conf", slurp(conf_of($user)) =~ s/^url = .*$/url = $url/mr);
}
is_exit(as('putter', { config => moved('putter') }, 'archive', $free_file), 3,
	'archive to another prefix');
is_exit(as('reader', { config => moved('reader') }, 'fetch', $last, 'pg_wal/fetched'), 203,
	'fetch from another prefix');

# without the right to abort, an upload in parts still works
$store->policy($owner, without('AbortMultipartUpload|ListMultipartUploadParts', @archiver));
is_exit(as('putter', { env => { XDG_CACHE_HOME => "$t->{base}/new2" } }, 'check'), 0,
	'the probe of uploads in parts without the right to abort');

# ---- the script that sets a bucket up

SKIP:
{
	if (!-x '/usr/bin/aws')
	{
		skip_loudly('contrib/s3/setup-bucket: the AWS CLI (awscli) is not installed');
		skip 'no AWS CLI', 1;
	}
	my $bucket = $store->name . '-set-up';
	my $mine = bless { %$store, name => $bucket, prefix => 'prod' }, ref $store;
	$mine->set_url;
	my %env = (PATH => '/usr/bin:/bin', AWS_CA_BUNDLE => $ENV{PITR_S3_CA},
		AWS_ACCESS_KEY_ID => $ENV{PITR_S3_KEY}, AWS_SECRET_ACCESS_KEY => $ENV{PITR_S3_SECRET});
	my @set_up = ({ env => \%env }, "$contrib/setup-bucket", '--endpoint', $ENV{PITR_S3_ENDPOINT},
		'--lock-days', 3, '--archiver', $ENV{PITR_S3_PUTTER_ARN}, '--reader',
			$ENV{PITR_S3_READER_ARN},
		'--expirer', $ENV{PITR_S3_EXPIRER_ARN}, $bucket, 'prod');
	my $r = [ run_cmd(@set_up, '--dry-run') ];
	is_exit($r, 0, 'setup-bucket --dry-run');
	like($r->[1], qr/put-object-lock-configuration .*Days=3/, 'shows its steps');
	ok(!$mine->is_there, 'and does nothing');
	is_exit([ run_cmd(@set_up) ], 0, 'setup-bucket');
	is_exit([ run_cmd(@set_up) ], 0, 'setup-bucket again') if long_form();
	is($mine->s3('get_bucket_versioning', Bucket => $bucket)->{Status}, 'Enabled',
		'versioning is on');
	my $lock = $mine->s3('get_object_lock_configuration', Bucket => $bucket);
	is($lock->{ObjectLockConfiguration}{Rule}{DefaultRetention}{Days}, 3,
		'Object Lock keeps for 3 days');
	my $url = $mine->url;
	for my $user (qw(putter reader))
	{
		spit("$t->{base}/set-up.$user.conf", slurp(conf_of($user)) =~ s/^url = .*$/url = $url/mr);
	}
	is_exit(as('putter', { config => "$t->{base}/set-up.putter.conf" }, 'archive', $free_file), 0,
		'the archiver archives into it');
	my ($key) = map { $_->{Key} }
	  grep { $_->{Key} =~ /\Q$free\E/ }
	  @{ $mine->s3('list_objects_v2', Bucket => $bucket)->{Contents} };
	my $version = $mine->s3('list_object_versions', Bucket => $bucket,
		Prefix => $key)->{Versions}[0];
	like($mine->try_s3('expirer', 'delete_object', Bucket => $bucket, Key => $key,
		VersionId => $version->{VersionId})->{error}, qr/AccessDenied/, 'what is stored is locked');
	$r = as('reader', { config => "$t->{base}/set-up.reader.conf" }, 'check');
	is_exit($r, 0, 'check finds nothing wrong with it');
	like($r->[1], $_, 'and what is set up') for qr/versioning is on/,
		qr/Object Lock: GOVERNANCE, 3 days/,
	  qr/stay for 30 days/, qr/rule removes unfinished uploads/;
	$mine->s3('put_bucket_lifecycle_configuration', Bucket => $bucket,
		LifecycleConfiguration => { Rules => [
		{ ID => 'theirs', Status => 'Enabled', Filter => { Prefix => 'x/' },
			Expiration => { Days => 3 } } ] });
	$r = [ run_cmd(@set_up) ];
	is_exit($r, 1, "setup-bucket keeps others' rules");
	like($r->[2], qr/lifecycle rule theirs/, 'and names them');
	is($mine->s3('get_bucket_lifecycle_configuration', Bucket => $bucket)->{Rules}[0]{ID}, 'theirs',
		'which are still there');
}

# What no server here enforces.
skip_loudly("contrib/s3/bucket-policy.json: this server (Ceph $ENV{PITR_S3_CEPH}) knows neither "
	. 's3:if-none-match nor aws:SecureTransport in a policy');

done_testing();
