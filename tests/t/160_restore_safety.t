# Restores and hooks that must refuse, or must not harm what is not theirs.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PitrTest->new('main');
my $space = PostgreSQL::Test::Utils::tempdir('space');
$t->sql("CREATE TABLESPACE ts LOCATION '$space'");
$t->sql('CREATE TABLE kept TABLESPACE ts AS SELECT g FROM generate_series(1, 1000) g;
	CREATE TABLE lost AS SELECT g FROM generate_series(1, 500) g');
chmod 0600, spit($t->data_dir . '/server.key', "secret\n");
chmod 0400, $t->data_dir . '/server.key';
my $label = $t->backup;
$t->sql('INSERT INTO lost SELECT g FROM generate_series(501, 600) g');
my $middle = $t->archive;
my $moment = $t->moment;
$t->sql('DROP TABLE lost');
$t->sql('CREATE DATABASE doomed');
$t->sql('CREATE TABLE c (x int)');
my $xid = do {
	my $before = $t->sql('SELECT pg_current_xact_id()');
	$t->sql('DROP DATABASE doomed');
	$before + 1;
};
$t->sql('INSERT INTO c VALUES (1)');
$t->archive;
my $elsewhere = PostgreSQL::Test::Utils::tempdir('elsewhere');
my $to = "$t->{base}/copy_data";
my @map = ('--tablespace-map', "$space=$elsewhere/ts");

# ---- hooks: a mistake in the command must stop recovery, not end it

is_exit($t->pitr('fech', 'a', 'b'), 202, 'a mistyped fetch');
is_exit([ run_cmd($ENV{PITR_BIN}, '--confg', '/x', 'fetch', 'a', 'b') ],
	202, 'a mistyped option before fetch');

# ---- a flipped bit is damage, not the end of the archive

my ($object) = $t->stored($middle);
my $r;
# 1: behind the last record, where only the hash of the whole tells
for my $where (0.1, 0.5, 1)
{
	$t->store->flip($object, $where);
	$r = $t->pitr('restore', '--data-directory', $to, @map, '--target-time', $moment);
	is_exit($r, 6, "damage in the middle of the WAL, at $where of a segment");
	ok(!-e $to, 'nothing is written');
	PitrTest::remove_tree($to, "$elsewhere/ts");
	$t->store->flip($object, $where);
}

# ---- what is not a cluster is not emptied

my $home = PostgreSQL::Test::Utils::tempdir('home');
spit("$home/thesis", 'years');
for my $how ('--delta', '--force')
{
	is_exit($t->pitr('restore', '--data-directory', $home, @map, $how), 2, "$how in a home directory");
	ok(-e "$home/thesis", 'which stays as it is');
}

# ---- a copy keeps off production's tablespace and WAL

for my $how ([], ['--force'])
{
	is_exit($t->pitr('restore', '--data-directory', $to, '--tablespace-map', "$space=$space", @$how),
		2, "a copy into production's tablespace @$how");
}
is($t->sql('SELECT count(*) FROM kept'), '1000', 'its rows are there');
my $copy = $t->restore('copy', @map, '--target-time', $moment);
my $foreign = PostgreSQL::Test::Utils::tempdir('foreign');
spit("$foreign/000000010000000000000009", 'the only copy');
my $dir = $copy->data_dir;
rename("$dir/pg_wal", "$dir/pg_wal.old") or die $!;
symlink($foreign, "$dir/pg_wal") or die $!;
$t->ok_pitr('restore', '--data-directory', $dir, @map, '--target-time', $moment, '--delta');
ok(-e "$foreign/000000010000000000000009", "what a copy's pg_wal link points to is untouched");
ok(!-l "$dir/pg_wal", 'and the copy has a pg_wal of its own');
is((stat "$dir/server.key")[2] & 0777, 0400, 'a read-only file keeps its mode');

# ---- paused just before a DROP TABLE, the table can be looked at

spit("$dir/postgresql.conf", slurp("$dir/postgresql.conf")
	  . "archive_cleanup_command = 'touch $foreign/cleaned'\nsynchronous_standby_names = 'nobody'\n");
$t->boot($copy, paused => 1, verify => 0);
is($t->sql("SET statement_timeout = '5s'; SELECT count(*) FROM lost", $copy), '600', 'rows, while paused');
$copy->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
ok($copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'it opens');
$copy->safe_psql('postgres', "SET statement_timeout = '20s'; CREATE TABLE n (x int); CHECKPOINT");
ok(!-e "$foreign/cleaned", "production's archive_cleanup_command did not run");
$copy->stop('immediate');

# ---- just before a DROP DATABASE, by its transaction

my $dropped = $t->restore('dropped', '--tablespace-map', "$space=$elsewhere/ts2", '--target-xid', $xid,
	'--exclusive', '--target-action', 'promote');
$t->boot($dropped, verify => 0);
is($dropped->safe_psql('doomed', 'SELECT 1'), '1', 'a database that is dropped later is there');
$dropped->stop('immediate');

# ---- archive: stored nowhere is never success

my $broken = "$t->{base}/optional.conf";
spit($broken, "[repo:main]\nurl = file:///dev/null/x\nrequired = no\n");
my $segment = $t->unlz4(($t->stored($middle))[0]);
spit("$t->{base}/$middle", $segment);
$r = [ run_cmd({ cwd => $t->data_dir }, $ENV{PITR_BIN}, '--config', $broken, 'archive', "$t->{base}/$middle") ];
isnt($r->[0], 0, 'archive into one optional, broken repository');

# ---- a dry run over the running server

is_exit($t->pitr('restore', '--dry-run', '--tablespace-map', "$space=$elsewhere/ts3", '--as', 'copy'), 0, 'a dry run into a running directory');

done_testing();
