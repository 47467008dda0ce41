# kill -9 of each command at a moment drawn by lot, each time followed by a rerun. Nothing half-made
# may be visible after the kill, the rerun must succeed, and in the end every row whose commit was
# acknowledged and archived must come back.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = rounds(20, 200);

# The archiver's pitr is killed at random too: a wrapper draws the moment. It exits 1, since a code
# over 125 makes PostgreSQL restart its archiver, which takes 10 s.
my $wrapper = PostgreSQL::Test::Utils::tempdir('wrapper') . '/archive';
my $kills = "$wrapper.kills";
spit($kills, '');
my $t = PitrTest->new('main', archive_command => "$wrapper %s", start => 0);
spit($wrapper, <<'SH' =~ s/KILLS/$kills/gr);
#!/bin/sh
# half of the calls are killed after 0 to 80 ms, as long as the marker "calm" is not there
[ -e KILLS.calm ] && exec "$@"
n=$(od -An -N2 -tu2 /dev/urandom)
[ $((n % 2)) = 0 ] && exec "$@"
timeout -s KILL "0.0$((n / 2 % 80 + 10))" "$@"
rc=$?
[ $rc = 0 ] && exit 0
echo killed >>KILLS
exit 1
SH
chmod 0755, $wrapper;
my $node = $t->node;
$node->start;
$t->sql('CREATE EXTENSION amcheck') if $t->has_contrib;

# ---- archive, called by the server

$t->sql('CREATE TABLE t (id int PRIMARY KEY, pad text)');
# the first backup must not wait for an archiver that gave up for a minute
spit("$kills.calm", '');
my $label = $t->backup;
unlink "$kills.calm";
my ($acknowledged, $killed) = (0, 0);
while ($killed < $rounds)
{
	$acknowledged++;
	$t->sql("INSERT INTO t SELECT $acknowledged, string_agg(md5(random()::text), '') "
		. "FROM generate_series(1, 60)");
	$t->switch;
	# the archiver retries after a second, but not after three failures in a row: new WAL wakes it
	usleep(150_000);
	$killed = () = slurp($kills) =~ /killed/g;
	last if $acknowledged > 40 * $rounds;
}
cmp_ok($killed, '>=', $rounds, "archive: killed $killed times under the server");
spit("$kills.calm", '');
my $last = $t->archive;
# what is visible is whole: each object's content has the hash of its key
my %seen;
for my $object (grep { m{/wal/.*\.lz4$} } $t->objects)
{
	my ($name, $hash) = $object =~ m{/([0-9A-F]{24})-([0-9a-f]{16})\.lz4$} or next;
	my $raw = eval { $t->unlz4($t->repo . "/$object") };
	$seen{$name}++;
	next if defined $raw && substr(sha256_hex($raw), 0, 16) eq $hash && $seen{$name} == 1;
	fail("$object is whole and the only content");
}
cmp_ok(scalar(keys %seen), '>=', $acknowledged, 'archive: every visible segment is whole, once');

# ---- archive, called directly: a segment that is not stored yet, at any moment of its way

my $source = $t->unlz4(($t->stored($last))[0]);
my $number = 0xA0000000;
my $path;

sub next_segment
{
	my $name = sprintf('00000001%08X%08X', $number >> 8, $number & 0xFF);
	substr($source, 8, 8) = pack('Q<', $number << 24);
	$number++;
	$path = spit("$t->{base}/$name", $source);
	return $name;
}

my $cwd = { cwd => $t->data_dir };
my $name = next_segment();
my $takes = seconds { is_exit($t->pitr($cwd, 'archive', $path), 0, 'archive, undisturbed') };
my ($hits, $wrong) = (0, 0);
for (1 .. $rounds)
{
	unlink $path;
	$name = next_segment();
	my $rc = $t->kill_pitr(lots($takes * 1.1), $cwd, 'archive', $path);
	$hits++ if $rc == 137;
	my @now = $t->stored($name);
	my $before = @now;
	$wrong++ if @now > 1 || grep { $t->unlz4($_) ne $source } @now;
	my $again = $t->pitr($cwd, 'archive', $path);
	@now = $t->stored($name);
	$wrong++ if $again->[0] != 0 || @now != 1 || $t->unlz4($now[0]) ne $source;
	$wrong++ if $rc == 0 && $before != 1;
	unlink @now;
}
unlink $path;
is($wrong, 0, "archive: $hits of $rounds killed: all or nothing, and the rerun succeeds");
system('rm', '-rf', glob($t->prefix . '/wal/0000000100A0*'));

# ---- fetch

my $want = $t->unlz4(($t->stored($last))[0]);
my $into = $t->data_dir . '/pg_wal/RECOVERYXLOG';
$takes = seconds { is_exit($t->fetch($last, 'pg_wal/RECOVERYXLOG'), 0, 'fetch, undisturbed') };
($hits, $wrong) = (0, 0);
for (1 .. $rounds)
{
	unlink $into;
	my $rc = $t->kill_pitr(lots($takes * 1.1), $cwd, 'fetch', $last, 'pg_wal/RECOVERYXLOG');
	$hits++ if $rc == 137;
	$wrong++ if -e $into ? slurp($into) ne $want : $rc == 0;
	$wrong++ if $t->fetch($last, 'pg_wal/RECOVERYXLOG')->[0] != 0 || slurp($into) ne $want;
}
unlink $into;
is($wrong, 0, "fetch: $hits of $rounds killed: all or nothing, and the rerun succeeds");
# leavings of the killed ones must not grow without end, nor disturb the server
my @leavings = grep { !m{/(?:[0-9A-F]{24}|archive_status|summaries|[0-9A-F]{8}\.history|\S+\.backup)$} }
  glob($t->data_dir . '/pg_wal/* ' . $t->data_dir . '/pg_wal/.[!.]*');
cmp_ok(scalar(@leavings), '<=', $hits, 'fetch: at most one leaving for each kill') or diag("@leavings");
unlink @leavings;

# ---- backup

$takes = seconds { $t->backup };
($hits, $wrong) = (0, 0);
for my $i (1 .. $rounds)
{
	my %before = map { $_ => 1 } $t->labels;
	my $rc = $t->kill_pitr(lots($takes * 1.05), {}, 'backup');
	$hits++ if $rc == 137;
	my @new = grep { !$before{$_} } $t->labels;
	$wrong++ if $rc == 0 && @new != 1;
	# killed or not, what counts as a backup must be one
	for my $label (@new)
	{
		my $dir = PostgreSQL::Test::Utils::tempdir('check') . '/data';
		my $r = $t->pitr('restore', '--data-directory', $dir, '--backup', $label);
		$wrong++ if $r->[0] != 0 || !$t->verify_files($dir, $label);
		system('rm', '-rf', $dir);
	}
	# a rerun each time in the short form costs little; in the long form a sample is enough
	next if long_form() && $i % 10;
	$wrong++ if $t->pitr('backup')->[0] != 0;
}
is($wrong, 0, "backup: $hits of $rounds killed: none counts that is not whole, the rerun succeeds");
$t->sql("INSERT INTO t VALUES (" . ++$acknowledged . ", 'last')");
$t->archive;
$label = $t->backup;
$t->archive;

# ---- restore

my $rows = $t->fingerprint('t');
is((split / /, $rows)[0], $acknowledged, 'every acknowledged row is in the table');
my @args = ('--target-action', 'promote', '--backup', $label);
my $copy;
$takes = seconds { $copy = $t->restore('undisturbed', @args) };
system('rm', '-rf', $copy->data_dir);
($hits, $wrong) = (0, 0);
for my $i (1 .. $rounds)
{
	my $dir = "$t->{base}/restored";
	my $rc = $t->kill_pitr(lots($takes * 1.05), {}, 'restore', '--data-directory', $dir, @args);
	$hits++ if $rc == 137;
	my $startable = -e "$dir/global/pg_control";
	my @rerun = -d $dir && glob("$dir/*") ? ($i % 2 ? '--delta' : '--force') : ();
	# killed behind the end of the work, it is a whole data directory
	$wrong++ if $rc == 0 && !$startable;
	$wrong++ if $startable && $rc == 137 && !$t->verify_files($dir, $label);
	my $again = $t->pitr('restore', '--data-directory', $dir, @args, @rerun);
	if ($again->[0] != 0)
	{
		diag("rerun @rerun: exit $again->[0]: $again->[2]");
		$wrong++;
	}
	elsif (!$t->verify_files($dir, $label))
	{
		$wrong++;
	}
	elsif ($i % 10 == 0)
	{
		# start every tenth
		$copy = $t->target("killed$i");
		rename($dir, $copy->data_dir) or die $!;
		$t->boot($copy, verify => 0);
		is($t->fingerprint('t', $copy), $rows, "every acknowledged row, killed at round $i");
		$t->amcheck($copy);
		$copy->stop;
		system('rm', '-rf', $copy->data_dir);
	}
	system('rm', '-rf', $dir);
}
is($wrong, 0, "restore: $hits of $rounds killed: none startable half-way, the rerun succeeds");

# ---- the first backup and all the WAL that survived the killings

my ($first) = $t->labels;
$copy = $t->restore('all', '--target-action', 'promote', '--backup', $first);
$t->boot($copy, label => $first);
is($t->fingerprint('t', $copy), $rows, 'from the first backup, through all WAL: every row');
$t->amcheck($copy);

$_->stop for $copy, $node;
done_testing();
