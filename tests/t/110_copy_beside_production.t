# A copy restored beside the running production, promoted and written to, changes nothing of
# production's: not its repository, not its files, and it takes part in no replication.
use strict;
use warnings;
use File::Find ();
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PitrTest->new('main', conf => "wal_level = logical\n");
my $node = $t->node;
$t->sql('CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g');
# things in the backup that a copy must not act upon
my $other = PitrTest->new('publisher', conf => "wal_level = logical\n", archive_command => 'true');
$other->sql('CREATE TABLE t (g int); CREATE PUBLICATION p FOR TABLE t');
my $connection = 'host=' . $other->node->host . ' port=' . $other->node->port . ' dbname=postgres';
$t->sql("CREATE SUBSCRIPTION s CONNECTION '$connection' PUBLICATION p WITH (copy_data = false)");
$node->append_conf('postgresql.auto.conf', "primary_conninfo = '$connection'");
$node->append_conf('postgresql.auto.conf', "recovery_target_name = 'stale'");
$node->append_conf('postgresql.auto.conf', "recovery_target_time = ''");
$t->sql("ALTER SYSTEM SET work_mem = '5MB'");
my $label = $t->backup;
$t->sql('INSERT INTO t SELECT g FROM generate_series(1001, 2000) g');
my $moment = $t->moment;
my $rows = $t->fingerprint('t');
$t->sql('DELETE FROM t');
$t->archive;
# what production does from here on would disturb the comparison
$t->sql("ALTER SYSTEM SET checkpoint_timeout = '1d'");

# Production's own files, without those a running server touches by itself.
sub files
{
	my ($dir) = @_;
	my %seen;
	File::Find::find({ no_chdir => 1, wanted => sub {
		return if m{/(pg_stat|pg_stat_tmp|pg_wal|pg_logical|pg_subtrans|pg_replslot|pg_xact)\b};
		return if m{/postmaster\.(pid|opts)$|/global/|/base/\d+/\d+(_\w+)?$|/log/|current_logfiles};
		my @s = lstat($_);
		$seen{$_} = "$s[7] $s[9]" if -f _ || -l _;
	} }, $dir);
	return \%seen;
}

my $repository = $t->snapshot;
my $production = files($t->data_dir);
my $worker = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'logical replication worker'";

my $copy = $t->restore('copy', '--target-time', $moment, '--target-action', 'promote');
my $said = $t->{last_restore}[1] . $t->{last_restore}[2];
like($said, qr/primary_conninfo|recovery_target|archive_command/,
	'what it neutralised in the settings is said');
$t->boot($copy, label => $label);
is($t->fingerprint('t', $copy), $rows, 'the copy has the rows of the moment');
is($t->timeline($copy) >= 1 && $t->sql('SELECT pg_is_in_recovery()', $copy), 'f', 'and is promoted');
is($t->sql('SHOW archive_mode', $copy), 'off', 'it does not archive');
is($t->sql('SHOW primary_conninfo', $copy), '', 'it has no primary_conninfo');
is($t->sql('SHOW recovery_target_name', $copy), '', 'no stale target');
is($t->sql('SHOW max_logical_replication_workers', $copy), 0, 'no logical replication workers');
is($t->sql('SHOW work_mem', $copy), '5MB', 'other settings are kept');
$t->sql('CREATE TABLE mine AS SELECT g FROM generate_series(1, 10000) g', $copy);
$t->sql('SELECT pg_switch_wal()', $copy);
$t->sql('CHECKPOINT', $copy);
$t->sql('SELECT pg_switch_wal(); SELECT pg_sleep(1)', $copy);
is($t->sql($worker, $copy), 0, 'nor is there such a worker');
is($other->sql("SELECT count(*) FROM pg_stat_replication"), 1,
	'the publisher serves production alone');
$copy->restart;
$t->sql('SELECT pg_switch_wal()', $copy);
is($t->sql('SHOW archive_mode', $copy), 'off', 'after a restart too');
$t->amcheck($copy);
$copy->stop;

is_deeply($t->snapshot, $repository, "nothing was written into production's prefix");
is_deeply(files($t->data_dir), $production, "nor into production's directory");
is($t->sql('SELECT count(*) FROM t'), 0, 'production is where it was');
$t->sql('INSERT INTO t VALUES (1)');
$t->archive;

# --as production, elsewhere: then it does archive
my $moved = $t->restore('moved', '--as', 'production', '--dry-run');
ok(!-e $moved->data_dir, 'a dry run writes nothing');
$node->stop;
$moved = $t->restore('moved_for_good', '--as', 'production', '--target-action', 'promote');
$t->boot($moved, label => $label);
is($t->sql('SHOW archive_mode', $moved), 'on', '--as production: it archives');
like($t->archive($moved), qr/^00000002/, 'as a new timeline');
ok($t->stored('00000002.history'), 'whose history is stored');

# --as copy, in the own directory
my $r = $t->pitr('restore', '--as', 'copy', '--force', '--target-time', $moment,
	'--target-action', 'promote');
is_exit($r, 0, '--as copy into the own directory');
$node->start;
ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'opens');
is($t->sql('SHOW archive_mode'), 'off', 'and does not archive');

$_->stop for $moved, $node, $other->node;
done_testing();
