# restore: every kind of target, to the row; what can't be reached is refused before a byte is written.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PitrTest->new('main');
my $node = $t->node;
my %rows;    # stage => fingerprint of t

sub stage
{
	my ($name) = @_;
	$t->sql("INSERT INTO t SELECT '$name', g, md5(g::text) FROM generate_series(1, 500) g");
	return $rows{$name} = $t->fingerprint('t');
}

my $before_all = $t->moment;
$t->sql('CREATE TABLE t (stage text, n int, pad text); CREATE INDEX ON t (stage, n)');
stage('base');
my $first = $t->backup;
$rows{first} = $rows{base};
stage('one');
my $time_one = $t->moment;
my $lsn_one = $t->sql('SELECT pg_current_wal_insert_lsn()');
my $xid_two = $t->sql("BEGIN; INSERT INTO t SELECT 'two', g FROM generate_series(1, 500) g;
	SELECT pg_current_xact_id()::text; COMMIT");
$rows{two} = $t->fingerprint('t');
# now, while its WAL is in pg_wal for sure
my ($stamp) = `pg_waldump -r Transaction -p @{[$t->data_dir]}/pg_wal -s $lsn_one 2>/dev/null`
  =~ /tx:\s+$xid_two,.*COMMIT (\S+ \S+)/;
$t->sql("SELECT pg_create_restore_point('after_two')");
stage('three');
my $second = $t->backup;
stage('four');
my $time_four = $t->moment;
# the commit that destroys, at its own exact time
my $drop = $t->sql('BEGIN; DELETE FROM t; SELECT pg_current_xact_id()::text; COMMIT');
$rows{destroyed} = $t->fingerprint('t');
stage('five');
my $last_commit = $t->moment;
my $last_segment = $t->archive;

# Restores to a target, boots, compares.
sub restored
{
	my ($what, $expected, $from, @args) = @_;
	my $copy = $t->restore(undef, '--target-action', 'promote', @args);
	is($t->label_of($copy->data_dir), $from, "$what: from the right backup");
	$t->boot($copy, label => $from);
	is($t->fingerprint('t', $copy), $rows{$expected}, "$what: exactly the rows");
	$t->amcheck($copy);
	$copy->stop;
	return $copy;
}

# ---- what can be reached

(my $iso = $time_one) =~ s/ (\S+)\+00/T$1Z/;
restored('time', 'one', $first, '--target-time', $time_one);
restored('time with T and Z', 'one', $first, '--target-time', $iso);
restored('time before the disaster', 'four', $second, '--target-time', $time_four);
restored('lsn', 'one', $first, '--target-lsn', $lsn_one);
restored('xid', 'two', $first, '--target-xid', $xid_two);
restored('xid, exclusive', 'one', $first, '--target-xid', $xid_two, '--exclusive');
restored('the destroying xid, exclusive', 'four', $second, '--target-xid', $drop, '--exclusive');
restored('the destroying xid', 'destroyed', $second, '--target-xid', $drop);
restored('name', 'two', $first, '--target-name', 'after_two');
restored('immediate', 'three', $second, '--target-immediate');
restored('immediate from a given backup', 'base', $first, '--target-immediate', '--backup', $first);
restored('to the end', 'five', $second);
restored('to the end from a given backup', 'five', $first, '--backup', $first);

# exclusive and inclusive at the very time of a commit
SKIP:
{
	ok($stamp, 'pg_waldump tells the commit time of a transaction') or skip 'no commit time', 1;
	$stamp =~ s/ UTC$//;
	local $ENV{TZ} = 'UTC';
	my $utc = "$stamp+00";
	restored('the very time of a commit', 'two', $first, '--target-time', $utc);
	restored('the very time of a commit, exclusive', 'one', $first, '--target-time', $utc,
		'--exclusive');
}

# a time without a zone is read in the local one
{
	local $ENV{TZ} = 'Asia/Kathmandu';    # +05:45
	my ($h, $m, $rest) = $time_one =~ / (\d\d):(\d\d):(\S+)\+00/;
	my $local = $t->sql("SELECT to_char(timestamptz '$time_one' AT TIME ZONE 'Asia/Kathmandu', "
		. "'YYYY-MM-DD HH24:MI:SS.US')");
	my $r = $t->pitr('restore', '--data-directory', "$t->{base}/tz", '--dry-run',
		'--target-time', $local);
	is_exit($r, 0, 'a time without a zone');
	like("$r->[1]$r->[2]", qr/\Q$h:$m:\E/, 'is shown as the instant it is, in UTC');
}

# ---- the default action: stop there and wait

my $paused = $t->restore('paused', '--target-name', 'after_two');
$t->boot($paused, label => $first, paused => 1);
is($t->fingerprint('t', $paused), $rows{two}, 'paused at the target, the rows can be looked at');
$t->sql('SELECT pg_wal_replay_resume()', $paused);
ok($paused->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'and it goes on');
$paused->stop;

my $shut = $t->restore('shut', '--target-name', 'after_two', '--target-action', 'shutdown');
$t->settle($shut);
ok($t->run_to_end($shut), '--target-action shutdown: the server stops by itself');
like(slurp($shut->logfile), qr/restore point "after_two"/, 'at the target');

# ---- a dry run

my $nothing = "$t->{base}/nothing";
my $r = $t->pitr('restore', '--data-directory', $nothing, '--target-time', $time_four, '--dry-run');
is_exit($r, 0, 'a dry run');
like($r->[1], qr/\Q$second\E/, 'names the backup');
ok(!-e $nothing, 'and writes nothing');
my $plan = $t->json('restore', '--data-directory', $nothing, '--target-time', $time_four, '--dry-run');
like(JSON::PP->new->encode($plan), qr/\Q$second\E/, 'its JSON names the backup');
ok(!-e $nothing, 'and writes nothing');

# ---- what can't be reached: 5, at once, with nothing written

sub unreachable
{
	my ($what, @args) = @_;
	my $r;
	my $took = seconds { $r = $t->pitr('restore', '--data-directory', $nothing, @args) };
	is_exit($r, 5, $what);
	like_error($r, qr/./, $what);
	ok(!-e $nothing, "$what: nothing is written");
	cmp_ok($took, '<', 10, "$what: found at once");
	return $r;
}

unreachable('a time before the first backup', '--target-time', $before_all);
unreachable('a time after the last commit', '--target-time', '2099-01-01 00:00:00+00');
unreachable('an unknown name', '--target-name', 'never_made');
unreachable('an xid that was never there', '--target-xid', $drop + 100000);
unreachable('an xid from before the first backup', '--target-xid', $xid_two - 3, '--backup', $first)
  if $xid_two > 1000;
unreachable('an LSN that was never there', '--target-lsn', 'FF/0');
unreachable('an LSN before the first backup', '--target-lsn', '0/1000000');
unreachable('a target before the given backup', '--target-time', $time_one, '--backup', $second);
unreachable('a timeline that was never there', '--target-timeline', '7');

# ---- what makes no sense: 2

sub refused
{
	my ($what, $rc, @args) = @_;
	my $r = $t->pitr('restore', '--data-directory', $nothing, @args);
	is_exit($r, $rc, $what);
	like_error($r, qr/./, $what);
	ok(!-e $nothing, "$what: nothing is written");
	return;
}

refused("\"$_\" as a time", 2, '--target-time', $_)
  for ('yesterday', 'now', '', '2026-13-01 00:00:00Z', '2026-02-30 10:00:00Z', '10:00',
	'2026-11-21 25:00:00Z', '2026-11-21 10:00:00 Mars/Olympus', '21.11.2026 10:00');
refused("\"$_\" as an LSN", 2, '--target-lsn', $_) for ('0', '1/', 'G/0', '0/1/2', '0/123456789');
refused("\"$_\" as an xid", 2, '--target-xid', $_) for ('-1', '0x10', 'ten', '');
refused('two targets', 2, '--target-lsn', $lsn_one, '--target-name', 'after_two');
refused('exclusive without a target', 2, '--exclusive');
refused('exclusive with a name', 2, '--exclusive', '--target-name', 'after_two');
refused('an unknown backup', 5, '--backup', '20200101T000000Z-F');
refused('an unknown action', 2, '--target-action', 'dance');

# ---- directories that are in use

my $used = "$t->{base}/used";
mkdir $used;
spit("$used/precious", 'mine');
for my $args ([], ['--target-immediate'])
{
	$r = $t->pitr('restore', '--data-directory', $used, @$args);
	ok($r->[0] == 2 || $r->[0] == 7, "a directory that is not empty is refused ($r->[0])");
	is_deeply([ glob("$used/*") ], ["$used/precious"], 'and left alone');
}
$r = $t->pitr('restore');
ok($r->[0] == 2 || $r->[0] == 7, "production's own directory, running, is refused ($r->[0])");
$r = $t->pitr('restore', '--force');
ok($r->[0] == 2 || $r->[0] == 7, "even with --force ($r->[0])");
is($t->fingerprint('t'), $rows{five}, 'and untouched');
$r = $t->pitr('restore', '--data-directory', "$t->{base}/no/such/parent/data");
ok(-d "$t->{base}/no/such/parent/data" || $r->[0] != 0, 'a parent that is not there');
mkdir "$t->{base}/ro";
chmod 0500, "$t->{base}/ro";
$r = $t->pitr('restore', '--data-directory', "$t->{base}/ro/data");
isnt($r->[0], 0, 'a place where nothing can be written');

# ---- production itself, in its own directory

$node->stop('immediate');
my $data = $t->data_dir;
$r = $t->pitr('restore', '--target-time', $time_four, '--target-action', 'promote', '--force');
is_exit($r, 0, 'restore over the stopped production');
$t->verify_files($data, $second);
$node->start;
ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'it is open');
is($t->fingerprint('t'), $rows{four}, 'with the rows from before the disaster');
is($t->sql('SHOW archive_mode'), 'on', 'and goes on archiving');
stage('six');
like($t->archive, qr/^00000002/, 'on a timeline of its own');
ok($t->stored('00000002.history'), 'whose history is stored');
my $six = $t->restore('six', '--target-action', 'promote', '--backup', $second);
$t->boot($six, label => $second);
is($t->fingerprint('t', $six), $rows{six}, 'and can be restored from');

$_->stop for $six, $node;
done_testing();
