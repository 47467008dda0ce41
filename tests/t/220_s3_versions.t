# Versioned buckets: --repo-time after everything was deleted, overwritten or added to; long listings;
# what check says of a bucket's settings; objects in a cold storage class.
use strict;
use warnings;
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

need_s3();

my $t = PitrTest->new('main', s3 => 1, bucket => { ObjectLockEnabledForBucket => JSON::PP::true });
my $store = $t->store;
my @bucket = (Bucket => $store->name);

# A moment apart from all before and after it, by this host's clock, as the store's is. Listings of
# newer servers tell times to the second, as AWS's do.
sub now
{
	my $unit = $ENV{PITR_S3_CEPH} > 16 ? 1_000_000 : 20_000;
	my $us = sub { my @now = Time::HiRes::gettimeofday(); return $now[0] * 1_000_000 + $now[1]; };
	my $moment = (int($us->() / $unit) + 1) * $unit;
	usleep($moment + $unit - $us->());
	return POSIX::strftime('%F %T', gmtime($moment / 1_000_000)) . sprintf('.%06d+00',
		$moment % 1_000_000);
}

sub rows { return $t->sql("INSERT INTO t SELECT '$_[0]', g FROM generate_series(1, 300) g"); }

# Restores as the repository stood at a moment, and compares the rows.
sub restored_at
{
	my ($what, $moment, $expected, @args) = @_;
	my $copy = $t->restore(undef, '--repo-time', $moment, '--target-action', 'promote', @args);
	like(slurp($copy->data_dir . '/postgresql.auto.conf'),
		qr/^restore_command = '.* --repo-time=.* fetch /m,
			"$what: the server reads of that moment, too");
	my ($label) = $t->label_of($copy->data_dir);
	$t->settle($copy);
	$copy->start;
	ok($copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), "$what: it opens");
	is($t->fingerprint('t', $copy), $expected, "$what: with the rows of then");
	$copy->stop;
	return $copy;
}

# ---- a repository with three states

my $nothing = now();
$t->sql('CREATE TABLE t (stage text, n int)');
rows('one');
my $label = $t->backup;
my $one = $t->fingerprint('t');
my $first = $t->archive;
my $at_one = now();
rows('two');
my $two = $t->fingerprint('t');
my $second = $t->archive;
my $at_two = now();
rows('three');
my $later = $t->archive;
my $label_two = $t->backup;
my $prefix = $t->prefix;
$t->node->stop;

my $r = $t->pitr('info', '--repo-time', $nothing);
unlike($r->[1], qr/\Q$label\E/, 'before the first backup there is none');
$r = $t->pitr('restore', '--repo-time', $nothing, '--data-directory', "$t->{base}/no");
is_exit($r, 5, 'nor can it be restored');
$r = $t->ok_pitr('info', '--repo-time', $at_two);
like($r->[1], qr/\Q$label\E/, 'info shows the first backup');
unlike($r->[1], qr/\Q$label_two\E/, 'not the second, which came later');
like($r->[1], qr/ to $second /, 'and the WAL up to then');
unlike($r->[1], qr/$later/, 'not later WAL');
unlike($t->ok_pitr('info', '--repo-time', $at_one)->[1], qr/$second/,
	'an earlier moment, less WAL');
restored_at('between two states', $at_one, $one);

sub fetched
{
	my ($name, $moment) = @_;
	my $file = "$t->{base}/fetched";
	unlink $file;
	my $r = $t->pitr({ cwd => $t->data_dir }, 'fetch', '--repo-time', $moment, $name, $file);
	return ($r->[0], -e $file ? length(slurp($file)) : undef);
}

is_deeply([ fetched($second, $at_two) ], [ 0, 16 << 20 ], 'fetch serves what was there');
is_deeply([ fetched($second, $at_one) ], [ 1, undef ], 'not what was not');
is_deeply([ fetched($first, $nothing) ], [ 203, undef ], 'and nothing is no proof');

# ---- more keys than a page has, in plain listings and in those of versions

{
	# from the first segment on, which alone is what its name says
	my @names = map { my $n = hex(substr($first, 16)) + $_; sprintf('00000001%08X%08X', $n >> 8,
		$n & 0xFF) }
	  0 .. 1099;
	my $folder = $t->prefix =~ s{/main/}{/long/}r . '/wal';
	my ($segment) = $t->stored($first);
	my ($hash) = $segment =~ /(-[0-9a-f]{16}\.lz4)$/;
	my $key = sub { "$folder/" . substr($_[0], 0, 16) . "/$_[0]$hash" };
	my $copy = sub { $store->copy($segment, $key->($_[0])) };
	my $conf = spit("$t->{base}/long.conf", slurp($t->config_file) =~ s/^\[cluster:main\]/[cluster:long]/mr);
	my $info = sub { $t->pitr({ config => $conf }, 'info', @_)->[1] };
	$copy->($_) for @names;
	like($info->(), qr/ $names[-1] +1100 segments/, 'a listing of two pages');
	my $full = now();
	# several versions of some keys, also where a page ends
	for my $name (@names[ 330 .. 340, 495 .. 505, 995 .. 1005 ])
	{
		$store->put($key->($name), "version $_ of $name") for 1 .. 2;
	}
	$store->delete(map { $key->($_) } @names);
	unlike($info->(), qr/segments/, 'all deleted');
	like($info->('--repo-time', $full), qr/ $names[-1] +1100 segments/,
		'as it stood before: pages of versions');
	$copy->($_) for @names[ 0 .. 9 ];
	like($info->(), qr/ $names[9] +10 segments/, 'written again');
	like($info->('--repo-time', $full), qr/ $names[-1] +1100 segments/, 'and as it stood before');
}

# ---- somebody deletes everything

my @keys = $t->objects;
$store->clear;
is(scalar(my @left = $t->objects), 0, 'everything is deleted');
my $deleted = now();
$r = $t->ok_pitr('info');
unlike($r->[1], qr/\Q$label\E/, 'now there is nothing');
is_exit($t->pitr('restore', '--data-directory', "$t->{base}/no"), 5, 'to restore');
is(($t->fetch($first, "$t->{base}/fetched"))->[0], 203, 'fetch does not take that for absence');
is(scalar(@left = grep { /\Q$label_two\E/ } $t->ok_pitr('info', '--repo-time', $at_two)->[1]), 0,
	'as it stood before');
like($t->ok_pitr('info', '--repo-time', $at_two)->[1], qr/\Q$label\E/, 'the first backup is there');
restored_at('all deleted', $at_two, $two);

# ---- overwrites what is there with garbage, and adds what was not

$store->put($_, 'garbage') for @keys;
my ($segment) = grep { m{/$first-} } @keys;
my $other = $segment =~ s/-[0-9a-f]{16}\./-0123456789abcdef./r;
$store->put($other, 'another content');
$store->put("$prefix/base/20350101T000000Z-F/backup.json", '{"label": "20350101T000000Z-F"}');
my $overwritten = now();
isnt($t->pitr('restore', '--data-directory', "$t->{base}/no")->[0], 0,
	'overwritten: nothing to restore now');
ok(!-e "$t->{base}/no", 'and nothing is written');
$r = $t->ok_pitr('info', '--repo-time', $at_two);
like($r->[1], qr/\Q$label\E/, 'info of before shows the backup');
unlike($r->[1], qr/CONFLICT|20350101/, 'and nothing of what was added');
$r = $t->ok_pitr('info', '--repo-time', $deleted);
unlike($r->[1], qr/segments|CONFLICT/, 'at a moment at which all was deleted nothing was there');
unlike($r->[1] . $r->[2], qr/\Q$label\E/, 'no backup either');
is_exit($t->pitr('restore', '--repo-time', $deleted, '--data-directory', "$t->{base}/no"), 5,
	'to restore');
is_deeply([ fetched($first, $deleted) ], [ 203, undef ], 'or to fetch');
restored_at('all overwritten', $at_two, $two);

# the moment that is meant travels with the command, whatever zone the server runs in
{
	my $local = $at_two =~ s/\+00$//r;
	my $copy = $t->target('zone');
	$r = $t->pitr({ env => { TZ => 'UTC' } }, 'restore', '--repo-time', $local, '--data-directory',
		$copy->data_dir, '--target-action', 'promote');
	is_exit($r, 0, 'a moment without a zone is of the local one');
	like(slurp($copy->data_dir . '/postgresql.auto.conf'), qr/ --repo-time=\S*[^' ]*(Z|\+00)/,
		'and goes into the restore_command with it');
}

# ---- wrong uses

is_exit($t->pitr('info', '--repo-time', 'yesterday'), 2, '--repo-time yesterday');
is_exit($t->pitr('archive', '--repo-time', $at_two, 'x'), 2, 'archive takes no --repo-time');
is_exit($t->pitr('backup', '--repo-time', $at_two), 2, 'nor does backup');
{
	my $dir = spit("$t->{base}/dir.conf",
		"[repo:main]\nurl = file://$t->{base}\n[cluster:main]\ndata-directory = " . $t->data_dir . "\n");
	$r = $t->pitr({ config => $dir }, 'info', '--repo-time', $at_two);
	is_exit($r, 2, 'a directory has no versions');
}

# ---- check: the settings of the bucket

my @good = ({ ID => 'uploads', Status => 'Enabled', Filter => { Prefix => '' },
		AbortIncompleteMultipartUpload => { DaysAfterInitiation => 7 } });

sub check_with
{
	my ($rules, $rc, $what, @patterns) = @_;
	$store->s3('put_bucket_lifecycle_configuration', @bucket,
		LifecycleConfiguration => { Rules => $rules });
	my $r = $t->pitr('check');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exit($r, $rc, "check: $what");
	like($r->[1], $_, "check: $what: says so") for @patterns;
	return $r;
}

sub rule
{
	my ($prefix, @action) = @_;
	return { ID => 'of-test', Status => 'Enabled', Filter => { Prefix => $prefix }, @action };
}

$r = $t->ok_pitr('check');
like($r->[1], qr/ok +versioning is on/, 'check sees versioning');
like($r->[1], qr/note +Object Lock is on, without a default retention/,
	'and what is missing for Object Lock');
like($r->[1], qr/note +no lifecycle rule removes unfinished uploads/,
	'and that unfinished uploads stay');
$store->s3('put_object_lock_configuration', @bucket, ObjectLockConfiguration =>
	{ ObjectLockEnabled => 'Enabled', Rule => { DefaultRetention => { Mode => 'GOVERNANCE',
		Days => 1 } } });
like($t->ok_pitr('check')->[1], qr/ok +Object Lock: GOVERNANCE, 1 days/, 'Object Lock is seen');
check_with(\@good, 0, 'a harmless rule', qr/ok +a lifecycle rule removes unfinished uploads/);
for my $prefix ('', 'team/', 'team/pr', 'team/prod/', 'team/prod/v1/main/', 'team/prod/v1/main/x')
{
	check_with([ @good, rule($prefix, Expiration => { Days => 30 }) ], 1,
		"deletion below \"$prefix\"",
		qr/BAD +lifecycle rule "of-test" deletes .* 30 days/);
}
check_with([ rule('team/prod/', Expiration => { Date => '2040-01-01T00:00:00Z' }) ], 1,
	'deletion at a date', qr/BAD +lifecycle rule "of-test" deletes/);
check_with([ rule('', Transitions => [ { Days => 9, StorageClass => 'GLACIER' } ]) ], 1,
	'a move to a cold class', qr/BAD +lifecycle rule "of-test" moves .* GLACIER after 9 days/);
for my $prefix ('other/', 'team/production/', 'team/prod2')
{
	$r = check_with([ @good, rule($prefix, Expiration => { Days => 1 }) ], 0,
		"deletion below \"$prefix\"");
	unlike($r->[1], qr/of-test/, 'is none of ours');
}
$r = check_with([ { %{ rule('', Expiration => { Days => 1 }) }, Status => 'Disabled' } ], 0,
	'a disabled rule');
unlike($r->[1], qr/of-test/, 'does nothing');
check_with([ rule('', Transitions => [ { Days => 9, StorageClass => 'STANDARD_IA' } ]) ], 0,
	'a move to a class that can be read');
check_with([ rule('team/prod/', NoncurrentVersionExpiration => { NoncurrentDays => 30 }) ], 0,
	'old versions go', qr/ok +.*versions stay for 30 days/);
check_with([ rule('team/prod/', Expiration => { ExpiredObjectDeleteMarker => JSON::PP::true }) ], 0,
	'markers without versions go');
check_with([ { %{ rule('', Expiration => { Days => 5 }) }, Filter => { And => { Prefix => 'team/',
	Tags => [ { Key => 'a', Value => 'b' } ] } } } ], 0, 'deletion of what has a tag',
		qr/note +.*of some objects/);
check_with([ { %{ rule('', Transitions => [ { Days => 5, StorageClass => 'GLACIER' } ]) }, Filter =>
	{ And => { Prefix => 'team/', Tags => [ { Key => 'a', Value => 'b' } ] } } } ], 0,
	'a move of what has a tag', qr/note +.*moves objects .*of some objects/);
for my $file (qw(lifecycle lifecycle-glacier-ir))
{
	my $text = slurp("$ENV{PITR_TEST_TOP}/contrib/s3/$file.json") =~ s/PREFIX/$store->prefix/ger;
	check_with(JSON::PP->new->decode($text)->{Rules}, 0, "contrib/s3/$file.json");
}
{
	my $json = $t->pitr('check', '--json');
	my $findings = eval { JSON::PP->new->decode($json->[1])->[0]{findings} } || [];
	ok((grep { $_->{what} =~ /versioning is on/ && $_->{finding} eq 'good' } @$findings), 'check --json');
}

# ---- objects in a cold storage class

$t = PitrTest->new('cold', s3 => 1,
	bucket => { ObjectLockEnabledForBucket => JSON::PP::true });
$store = $t->store;
@bucket = (Bucket => $store->name);
$t->sql('CREATE TABLE t (stage text, n int)');
rows('one');
$label = $t->backup;
rows('two');
$t->archive;
$two = $t->fingerprint('t');
$t->node->stop;
my $base = $t->prefix . "/base/$label";
my @packs = grep { /base-\d+\.tar\.lz4$/ } $t->objects($base);
my @wal = grep { /\.lz4$/ } $t->objects($t->prefix . '/wal');
$store->put($_, $store->get($_), StorageClass => 'STANDARD_IA') for @packs;
$r = $t->pitr('restore', '--data-directory', "$t->{base}/warm");
is_exit($r, 0, 'STANDARD_IA is not cold');
$store->put($_, $store->get($_), StorageClass => 'GLACIER') for @packs;

sub refused_cold
{
	my ($count, $what, @args) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $r = $t->pitr('restore', '--data-directory', "$t->{base}/no", @args);
	is_exit($r, 3, $what);
	like_error($r, qr/^pitr: error: $count objects .*cold storage class/, $what);
	like($r->[2], qr/^hint: --thaw /m, "$what: with a hint");
	ok(!-e "$t->{base}/no", "$what: nothing is written");
	return;
}

refused_cold(scalar(@packs), 'cold packs');
refused_cold(scalar(@packs), 'cold packs, in the plan', '--dry-run');
$store->put($wal[-1], $store->get($wal[-1]), StorageClass => 'GLACIER');
refused_cold(@packs + 1, 'cold WAL, too');
is_exit($t->pitr('info'), 0, 'info reads what is not cold');

# this server has no such thing as a return from the cold
$r = $t->pitr({ timeout => 30 }, 'restore', '--data-directory', "$t->{base}/no", '--thaw');
is_exit($r, 3, 'a server that can not bring them back');
like_error($r, qr/POST .*HTTP \d+/, 'can not bring back');
ok(!-e "$t->{base}/no", 'nothing is written');

# ---- and with something in front of it that does as AWS does

my $cold_dir = PostgreSQL::Test::Utils::tempdir('cold_store');
my ($cold_in, $cold_out) = ('', '');
my $cold_store = IPC::Run::start([ '/usr/bin/python3', "$ENV{PITR_TEST_TOP}/tests/lib/cold-store",
	($ENV{PITR_S3_ENDPOINT_HTTP} =~ /(\d+)$/), $cold_dir ], '<', \$cold_in, '>', \$cold_out,
	IPC::Run::timeout(180));
$cold_store->pump until $cold_out =~ /^(\d+)\n/;
my $aws = "http://127.0.0.1:$1";
my $aws_conf = spit("$t->{base}/aws.conf", slurp($t->config_file) =~ s/^endpoint = .*$/endpoint = $aws/mr);

sub asked { return -e "$cold_dir/asked" ? split(/\n/, slurp("$cold_dir/asked")) : (); }

my @thaw = ('--config', $aws_conf, 'restore', '--data-directory', "$t->{base}/thawed", '--thaw',
	'--thaw-tier', 'Bulk',
	'--target-action', 'promote');
is_exit($t->pitr({ config => $aws_conf }, 'restore', '--data-directory', "$t->{base}/no"), 3,
	'cold objects where they can not be read');
is(scalar(my @none = asked()), 0, 'without --thaw nothing is asked for');
is_exit($t->pitr({ config => $aws_conf }, 'restore', '--data-directory', "$t->{base}/no", '--thaw',
	'--dry-run'), 3,
	'--dry-run');
is(scalar(@none = asked()), 0, 'asks for nothing either');
{
	my $pid = fork();
	die "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open(STDERR, '>', "$t->{base}/thaw.log");
		exec($t->{bin}, @thaw) or POSIX::_exit(99);
	}
	ok(wait_until(sub { asked() == @packs + 1 }, 20), '--thaw asks for each object');
	usleep(300_000);
	kill('TERM', $pid);
	ok(wait_until(sub { waitpid($pid, POSIX::WNOHANG()) == $pid }, 5),
		'and can be stopped while it waits');
	like(slurp("$t->{base}/thaw.log"), qr/waiting for @{[@packs + 1]} objects/,
		'it says what it waits for');
	is(scalar(@none = grep { m{<Days>7</Days>.*<Tier>Bulk</Tier>} } asked()), @packs + 1,
		'with the tier that was given');
	ok(!-e "$t->{base}/thawed", 'nothing is written before they are back');
}
spit("$cold_dir/thawed", '');
$r = [ run_cmd({ timeout => 30 }, $t->{bin}, @thaw) ];
is_exit($r, 0, 'once they are back it goes on');
is(scalar(@none = asked()), @packs + 1, 'without asking for one that was asked for');
is_exit($t->pitr({ config => $aws_conf, timeout => 30 }, 'restore', '--data-directory',
	"$t->{base}/again"), 0,
	'they can be restored without --thaw while they are there');
spit("$cold_dir/old-server", '');
is_exit($t->pitr({ config => $aws_conf, timeout => 20 }, 'restore', '--data-directory',
	"$t->{base}/old", '--thaw'),
	0, 'also from a server whose listings do not tell that they are back');
unlink "$cold_dir/old-server";
$r = $t->pitr({ config => $aws_conf, timeout => 20 }, 'restore', '--data-directory',
	"$t->{base}/then",
	'--repo-time', now(), '--thaw');
is_exit($r, 0, 'and of an earlier moment');
$cold_store->kill_kill(grace => 1);

done_testing();
