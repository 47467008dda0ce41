# archive: durable, repeatable, never a second content, never a foreign or broken file.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Fcntl ':mode';
use File::Copy qw(copy);
use File::Path qw(make_path);
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $waldir = PostgreSQL::Test::Utils::tempdir('waldir') . '/wal';
my $t = PitrTest->new('main', initdb => ["--waldir=$waldir"]);
my $node = $t->node;
my $wal = $t->data_dir . '/pg_wal';
my $aside = PostgreSQL::Test::Utils::tempdir('aside');

# ---- what the server archives, through a symbolic link to another place

$t->sql("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 5) FROM generate_series(1, 20000) g");
my $segment = $t->archive;
my @stored = $t->stored($segment);
is(scalar(@stored), 1, 'the server archived a segment, once');
my $raw = $t->unlz4($stored[0]);
is(length($raw), 16 << 20, 'of full size');
my $hash = substr(sha256_hex($raw), 0, 16);
is((split m{/}, $stored[0])[-1], "$segment-$hash.lz4", 'its key carries the hash of its content');
ok($raw eq slurp("$wal/$segment"), 'its content is that of pg_wal') if -f "$wal/$segment";
SKIP:
{
	skip 'objects in a bucket have no mode', 1 if on_s3();
	is((stat $t->store->file($stored[0]))[2] & (S_IWGRP | S_IWOTH | S_IROTH),
		0, 'others can neither read nor write it');
}
is(run_cmd('lz4', '-tq', $t->store->file($stored[0])), 0, 'lz4 finds it whole');

# ---- again; a second content

# A segment that this test offers by itself: stored ones, decompressed.
spit("$aside/$segment", $raw);
my $before = $t->snapshot;
my $r = $t->archive_file("$aside/$segment");
is_exit($r, 0, 'the same content again');
is_deeply($t->snapshot, $before, 'and nothing was written');
$r = $t->pitr({ cwd => '/' }, 'archive', "$wal/" . $t->archive);
is_exit($r, 0, 'an absolute path, called from elsewhere');

my $other = $raw;
substr($other, 9_000_000, 4) = 'evil';
spit("$aside/$segment", $other);
$before = $t->snapshot;
$r = $t->archive_file("$aside/$segment");
is_exit($r, 3, 'a second content for a segment');
like_error($r, qr/$segment/, 'a second content');
is_deeply($t->snapshot, $before, 'and nothing was written');

# ---- files that are not what their name says

# A file offered under a name that is not stored yet must be refused and leave nothing.
sub refused
{
	my ($name, $content, $rc, $what) = @_;
	spit("$aside/$name", $content);
	my $before = $t->snapshot;
	my $r = $t->archive_file("$aside/$name");
	is_exit($r, $rc, $what);
	like_error($r, qr/\Q$name\E/, $what);
	is_deeply($t->snapshot, $before, "$what: nothing was written");
	unlink "$aside/$name";
	return;
}

my $free = '0000000100000000000000EE';
my $fitting = $raw;
substr($fitting, 8, 8) = pack('Q<', 0xEE << 24);    # xlp_pageaddr
my $foreign = $fitting;
substr($foreign, 24, 8) = pack('Q<', 4711);          # xlp_sysid
my $size = $fitting;
substr($size, 32, 4) = pack('V', 1 << 20);           # xlp_seg_size
my $tli = $fitting;
substr($tli, 4, 4) = pack('V', 2);                   # xlp_tli
refused($free, $raw, 6, 'a segment under a wrong name');
refused($free, $foreign, 2, "another system's segment");
refused($free, $size, 6, 'a segment that says another size');
refused($free, $tli, 6, 'a segment of a later timeline than its name');
refused($free, substr($fitting, 0, 5 << 20), 6, 'a cut segment');
refused($free, '', 6, 'an empty file');
refused($free, "\0" x (16 << 20), 6, 'zeros');
refused('0000000A.history', "no history\n", 6, 'a history file that is none');
refused('base.tar', $raw, 2, 'a file that is no WAL');
is_exit($t->archive_file('pg_wal/0000000100000000000000DD'), 70, 'a file that is not in pg_wal');
my $current = $t->sql('CREATE TABLE current (n int); SELECT pg_walfile_name(pg_current_wal_insert_lsn())');
is_exit($t->archive_file("pg_wal/$current"), 2, 'the segment that the server is writing');
is(scalar(my @none = $t->stored($current)), 0, 'is not stored');
is_exit($t->archive_file("$aside/0000000100000000000000DD"), 70, 'a file that is not there');
is_exit($t->pitr('archive'), 2, 'no argument');
is_exit($t->pitr('archive', 'a', 'b'), 2, 'two arguments');
spit("$aside/$free", $fitting);
is_exit($t->archive_file("$aside/$free"), 0, 'the segment under its right name');
is(scalar($t->stored($free)), 1, 'is stored');

# ---- the other kinds of file

my $history = "1\t0/5000000\tno recovery target specified\n";
spit("$aside/00000002.history", $history);
is_exit($t->archive_file("$aside/00000002.history"), 0, 'a history file');
is_exit($t->archive_file("$aside/00000002.history"), 0, 'the same history file again');
spit("$aside/00000002.history", "1\t0/6000000\tno recovery target specified\n");
$before = $t->snapshot;
$r = $t->archive_file("$aside/00000002.history");
is_exit($r, 3, 'another history file of the same timeline');
like($r->[2], qr/^hint: .*(clone|restore)/m, 'the hint says where it may come from');
is_deeply($t->snapshot, $before, 'and nothing was written');
is($t->store->get($t->prefix . '/wal/00000002.history'), $history, 'the history file is stored as it is');

spit("$aside/$free.partial", $fitting);
is_exit($t->archive_file("$aside/$free.partial"), 0, 'a partial segment');
is(scalar($t->stored("$free.partial")), 1, 'is stored under a name of its own');
is(scalar($t->stored($free)), 1, 'beside the whole one');

$node->backup('b');
$t->archive;
my @marks = grep { m{/[0-9A-F]{24}\.[0-9A-F]{8}\.backup-[0-9a-f]{16}\.lz4$} } $t->objects;
is(scalar(@marks), 1, "a backup's own history file is archived");
like($t->unlz4($marks[0]), qr/START WAL LOCATION/, 'and readable');

# ---- stops

my $slowest = seconds { $t->archive_file("$aside/$free") };
$t->store->delete($t->stored($free));
my $stopped = 0;
for my $i (1 .. rounds(12, 60))
{
	my $pid = fork();
	if (!$pid)
	{
		chdir $t->data_dir;
		exec($t->{bin}, '--config', $t->config_file, 'archive', "$aside/$free")
		  or POSIX::_exit(99);
	}
	Time::HiRes::usleep(int(lots($slowest * 1e6)));
	kill('TERM', $pid);
	waitpid($pid, 0);
	my $rc = $? & 127 ? 128 + ($? & 127) : $? >> 8;
	$stopped++ if $rc;
	my @now = $t->stored($free);
	my $whole = @now <= 1 && !grep { $t->unlz4($_) ne $fitting } @now;
	ok($whole && ($rc || @now == 1), "a stop by SIGTERM leaves all or nothing (exit $rc)");
	$t->store->delete(@now);
}
ok($stopped, "$stopped runs were stopped before their end");
is_exit($t->archive_file("$aside/$free"), 0, 'and then it works');
is_deeply([ grep { !m{\.(lz4|history)$} } $t->objects('v1') ], [], 'no leavings under v1');

# ---- repositories that refuse

my $closed = PostgreSQL::Test::Utils::tempdir('closed');
chmod 0500, $closed;
my $two = "$aside/two.conf";
my $second = $t->store->sibling('second');
spit($two, <<CONF);
[repo:closed]
url = file://$closed/repo
@{[$second->section('second')]}\[cluster:main]
CONF
$r = $t->pitr({ cwd => $t->data_dir, config => $two }, 'archive', "$aside/$free");
is_exit($r, 3, 'one of two repositories refuses');
like_error($r, qr/\Q$closed\E/, 'one of two refuses');
ok(grep({ m{^v1/main/[^/]+/wal/[^/]+/$free-[^/]+\.lz4$} } $second->list),
	'the other one has it all the same');
my $text = slurp($two);
$text =~ s/(\[repo:closed\]\n)/$1required = no\n/;
spit($two, $text);
$r = $t->pitr({ cwd => $t->data_dir, config => $two }, 'archive', "$aside/$free");
is_exit($r, 0, 'one that is not required refuses');
like($r->[2], qr/^pitr: warning: .*\Q$closed\E/m, 'which is said');

# ---- the server goes on by itself after a time of failures

$t->store->forbid('write', $t->prefix . '/wal');
$t->sql('CREATE TABLE later AS SELECT 1 AS one');
my $waiting = $t->switch;
ok($node->poll_query_until('postgres',
		'SELECT failed_count > 0 FROM pg_stat_archiver'), 'the server sees the failure');
ok(!$t->stored($waiting), 'the segment is not stored');
$t->store->allow;
$t->wait_archived($t->switch);
is(scalar($t->stored($waiting)), 1, 'it is, once the repository works again');

$node->stop;
done_testing();
