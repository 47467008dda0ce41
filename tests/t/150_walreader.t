# The WAL reader against pg_waldump: the same records, one by one, from every segment on, over
# records longer than a segment, segment switches, a crash and a promotion.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

skip_with_s3('the reader of WAL knows no repositories');
my $top = $ENV{PITR_TEST_TOP};
my $dump = PostgreSQL::Test::Utils::tempdir() . '/waldump_main';
my @sources = map { "$top/$_.c" } 'tests/unit/waldump_main',
  (map { "src/pg/$_" } qw(walname crc32c walpage walreader walrecord)),
  (map { "src/base/$_" } qw(error mem buf fs tempfile));
system('cc', '-std=c11', '-D_GNU_SOURCE', '-O1', "-I$top/src", @sources, '-o', $dump, '-lpthread')
  == 0
  or BAIL_OUT('waldump_main does not compile');

my $node = PostgreSQL::Test::Cluster->new('walreader');
$node->init(extra => ['--wal-segsize=1']);
$node->append_conf('postgresql.conf', <<CONF);
wal_level = logical
wal_compression = on
wal_keep_size = 500MB
max_wal_size = 1GB
max_prepared_transactions = 5
restore_command = 'false'
CONF
$node->start;

sub sql
{
	return $node->safe_psql('postgres', join(';', @_));
}

sql('CREATE TABLE t (a int, b text)',
	'INSERT INTO t SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 9000) g');
sql('SELECT pg_switch_wal()');
sql('CREATE INDEX ON t (a)', 'UPDATE t SET b = b WHERE a % 3 = 0', 'DELETE FROM t WHERE a % 7 = 0');
sql('CHECKPOINT');
sql("BEGIN; INSERT INTO t VALUES (-1, 'p'); PREPARE TRANSACTION 'g1'");
sql("BEGIN; DROP TABLE IF EXISTS u; INSERT INTO t VALUES (-2, 'p'); PREPARE TRANSACTION 'g2'");
$node->safe_psql('postgres', $_) for "COMMIT PREPARED 'g1'", "ROLLBACK PREPARED 'g2'";
sql('BEGIN; CREATE TABLE u (a int); SAVEPOINT s; INSERT INTO u VALUES (1)', 'COMMIT');
sql('BEGIN; DROP TABLE u; TRUNCATE t', 'ROLLBACK');
sql('BEGIN; DROP TABLE u; TRUNCATE t', 'COMMIT');
sql("SELECT pg_create_restore_point('before the release')");
$node->safe_psql('postgres', $_) for 'CREATE DATABASE d', 'DROP DATABASE d';
# records that fill segments, and switches at many offsets of a page
sql(q{SELECT pg_logical_emit_message(false, 'x', repeat('y', 3500000))}, 'SELECT pg_switch_wal()');
sql(q{SELECT pg_logical_emit_message(true, 'x', repeat('z', 1500000))});
sql(map { ("SELECT pg_logical_emit_message(false, 'x', repeat('q', $_ * 97))",
			'SELECT pg_switch_wal()') } 1 .. 60);
$node->stop('immediate');
$node->start;
sql(q{INSERT INTO t SELECT g, 'after' FROM generate_series(1, 1000) g});
$node->stop;
$node->set_standby_mode;
$node->start;
$node->promote;
$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()') or die 'no promotion';
sql(q{INSERT INTO t SELECT g, 'promoted' FROM generate_series(1, 1000) g});
$node->stop;

my $pg_wal = $node->data_dir . '/pg_wal';
my %events = map { $_ => 1 } qw(COMMIT ABORT COMMIT_PREPARED ABORT_PREPARED CHECKPOINT_ONLINE
  CHECKPOINT_SHUTDOWN RESTORE_POINT DROP INPLACE SWITCH END_OF_RECOVERY);

# Servers print an LSN's lower half with and without leading zeros.
sub lsn
{
	my ($high, $low) = split m{/}, shift;
	return sprintf('%X/%X', hex $high, hex $low);
}

# "lsn xid len prev event" of each record, as pg_waldump tells them.
sub theirs
{
	my ($segment) = @_;
	my ($tli, $log, $seg) = map { hex } unpack '(A8)*', $segment;
	my $start = sprintf('%X/%X', $log, $seg << 20);
	my ($out) = run_command([ 'pg_waldump', '-p', $pg_wal, '-t', $tli, '-s', $start ]);
	my @lines;
	for (split /\n/, $out)
	{
		my ($len, $xid, $lsn, $prev, $what) = m{^rmgr:\ \S+\s+len\ \(rec/tot\):\s*\d+/\s*(\d+),
		  \ tx:\s*(\d+),\ lsn:\ ([0-9A-F/]+),\ prev\ ([0-9A-F/]+),\ desc:\ (\w*)}x or next;
		push @lines, join(' ', lsn($lsn), $xid, $len, lsn($prev), $events{$what} ? $what : '');
	}
	return \@lines;
}

# The same, and how it ended, as the reader does.
sub ours
{
	my ($segment) = @_;
	my ($out, $err) = run_command([ $dump, $pg_wal, $segment ]);
	return ([], $err) if $err;
	my @lines;
	my $end = '';
	for (split /\n/, $out)
	{
		if (/^end (.*)/) { $end = $1; next; }
		my ($lsn, undef, undef, $xid, $len, $prev, $event) = split / /, $_, 8;
		push @lines, join(' ', $lsn, $xid, $len, $prev, $event // '');
	}
	return (\@lines, $end);
}

sub first_difference
{
	my ($ours, $theirs) = @_;
	my $i = 0;
	$i++ while $i < @$ours && $i < @$theirs && $ours->[$i] eq $theirs->[$i];
	return 'none' if $i == @$ours && $i == @$theirs;
	return sprintf("record %d: '%s', pg_waldump '%s'",
		$i, map { $_ // 'end' } $ours->[$i], $theirs->[$i]);
}

my %told;
for my $tli (1, 2)
{
	opendir(my $dh, $pg_wal) or die $!;
	my @segments = sort grep { /^0000000$tli[0-9A-F]{16}$/ } readdir $dh;
	closedir $dh;
	my ($compared, @differences) = (0);
	for my $i (0 .. $#segments)
	{
		# all of them for a long form: each start reads to the end
		next if $i % 5 != 0 && !long_form();
		my ($ours, $end) = ours($segments[$i]);
		my $theirs = theirs($segments[$i]);
		next if !@$ours && !@$theirs;    # made ahead, nothing written yet
		my $difference = first_difference($ours, $theirs);
		push @differences, "from $segments[$i]: $difference ($end)" if $difference ne 'none';
		$told{ (split / /)[4] // '' }++ for @$ours;
		$compared++;
	}
	is_deeply(\@differences, [], "timeline $tli: the same records as pg_waldump");
	cmp_ok($compared, '>', $tli == 1 ? 10 : 0, "timeline $tli: from $compared segments on");
}
is(join(' ', grep { !$told{$_} } sort keys %events), '', 'every kind of event was seen');

done_testing();
