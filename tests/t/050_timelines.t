# Timelines: restores along them, across a promotion with its .partial, and two that claim one number.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PitrTest->new('main');
my $node = $t->node;
my %rows;

sub stage
{
	my ($name, $on) = @_;
	$t->sql("INSERT INTO t SELECT '$name', g FROM generate_series(1, 300) g", $on);
	return $rows{$name} = $t->fingerprint('t', $on);
}

sub restored
{
	my ($what, $expected, $from, @args) = @_;
	my $copy = $t->restore(undef, '--target-action', 'promote', @args);
	is($t->label_of($copy->data_dir), $from, "$what: from the right backup");
	$t->boot($copy, label => $from);
	is($t->fingerprint('t', $copy), $rows{$expected}, "$what: exactly the rows");
	$copy->stop;
	return $copy;
}

$t->sql('CREATE TABLE t (stage text, n int)');
stage('start');
my $on_one = $t->backup;
stage('kept');
my $fork = $t->moment;
stage('lost');
my $time_lost = $t->moment;
stage('lost_too');
$t->archive;
my $later_on_one = $t->backup;
$t->archive;

# ---- production goes back to $fork: timeline 2 leaves 1 before the second backup

$node->stop;
is_exit($t->pitr('restore', '--force', '--target-time', $fork, '--target-action', 'promote'),
	0, 'production is taken back');
$node->start;
ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'and opens');
is($t->fingerprint('t'), $rows{kept}, 'at the chosen moment');
stage('two');
my $time_two = $t->moment;
stage('two_more');
$t->archive;
ok($t->stored('00000002.history'), '00000002.history is stored');

restored('to the end, the newest timeline', 'two_more', $on_one);
restored('a moment on timeline 2', 'two', $on_one, '--target-time', $time_two);
restored('timeline 1 to its end', 'lost_too', $later_on_one, '--target-timeline', 1);
restored('a moment on timeline 1 behind the fork', 'lost', $on_one, '--target-timeline', 1,
	'--target-time', $time_lost);
restored('the moment of the fork', 'kept', $on_one, '--target-time', $fork,
	'--target-timeline', 'latest');
my $r = $t->pitr('restore', '--data-directory', "$t->{base}/no", '--target-timeline', 2,
	'--backup', $later_on_one);
is_exit($r, 5, 'a backup that is not on the way to the target');
ok(!-e "$t->{base}/no", 'is refused before a byte is written');

my $on_two = $t->backup;
stage('three');
my $time_three = $t->moment;
stage('three_more');
$t->archive;
restored('from a backup on timeline 2', 'three', $on_two, '--target-time', $time_three);
restored('a moment before it', 'two', $on_one, '--target-time', $time_two);

# ---- a standby is promoted: the old timeline ends in a .partial

# A standby made from a restored production must not inherit the targets of that restore.
$t->sql("ALTER SYSTEM RESET $_")
  for grep { /^(recovery_target|restore_command)/ } split /\n/,
  $t->sql("SELECT DISTINCT name FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'");
$node->backup('standby');
my $standby = $t->target('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->append_conf('postgresql.conf',
	"restore_command = '" . $t->shell_command . " fetch %f %p'");
$standby->start;
stage('streamed');
my $time_streamed = $t->moment;
stage('streamed_more');
$node->wait_for_catchup($standby, 'replay');
$node->stop('immediate');
$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'promoted');
stage('promoted', $standby);
$t->archive($standby);
my @partial = grep { /\.partial-/ } $t->objects;
is(scalar(@partial), 1, "the old timeline's last segment is archived as .partial");
like($partial[0], qr{/00000002[0-9A-F]{16}\.partial-[0-9a-f]{16}\.lz4$}, 'under its own name');
ok($t->stored('00000003.history'), '00000003.history is stored');
restored('across the promotion, to the end', 'promoted', $on_two);
restored('a moment just before the promotion', 'streamed', $on_two, '--target-time', $time_streamed);

$t->sql("SELECT pg_create_restore_point('fork_a')", $standby);
stage('between', $standby);
$t->sql("SELECT pg_create_restore_point('fork_b')", $standby);
$t->archive($standby);
$standby->stop;

# ---- two restores that don't see each other claim timeline 4, from different points

# what the second one sees: the repository as it is before
my $blind = $t->config_with($t->store->clone('blind'));

my ($a, $b) = map { $t->restore("claim_$_", '--as', 'production', '--target-name', "fork_$_",
	'--target-action', 'promote') } 'a', 'b';
$t->boot($a, label => $on_two);
is($t->fingerprint('t', $a), $rows{promoted}, 'the first one, restored to be production');
$t->sql("INSERT INTO t VALUES ('a', 1)", $a);
my $segment = $t->archive($a);
like($segment, qr/^00000004/, 'archives as timeline 4');
my ($history) = $t->stored('00000004.history');
my $content = $t->store->get($history);
my $before = $t->snapshot;
$b->append_conf('postgresql.auto.conf',
	"restore_command = '$t->{bin} --config $blind fetch %f %p'");
$t->boot($b, verify => 0);
is($t->fingerprint('t', $b), $rows{between}, 'the second one comes up too');
$t->switch($b);
ok($b->poll_query_until('postgres', "SELECT failed_count > 0 AND last_failed_wal = "
	. "'00000004.history' FROM pg_stat_archiver"), 'but cannot archive its history file');
is($t->store->get($history), $content, 'the stored one is untouched');
is_deeply($t->snapshot, $before, 'and nothing else was written');
my $log = slurp($b->logfile);
like($log, qr/pitr: error: .*00000004\.history/, "the server's log says why");
like($log, qr/hint: /, 'and what to do');
$a->stop;
$b->stop('immediate');

done_testing();
