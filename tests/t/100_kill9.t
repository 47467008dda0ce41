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
my $seed = $ENV{PITR_TEST_SEED} || 1;
spit($wrapper, <<'SH' =~ s/KILLS/$kills/gr =~ s/SEED/$seed/gr);
#!/bin/sh
# half of the calls are killed after 0 to 80 ms, as long as the marker "calm" is not there
[ -e KILLS.calm ] && exec "$@"
c=$(cat KILLS.count 2>/dev/null || echo 0)
echo $((c + 1)) >KILLS.count
n=$(((c * 7919 + SEED * 104729) / 3 % 65536))
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
	my $raw = eval { $t->unlz4($object) };
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

# Kills a command until $rounds kills were in time, at moments drawn from the time it takes. $round
# is called with the moment, does the killing and the rerun, and returns the exit code of what was
# killed and what it found wrong.
sub kill_often
{
	my ($what, $takes, $round) = @_;
	my ($hits, $tries, @wrong) = (0, 0);
	while ($hits < $rounds && $tries < 5 * $rounds)
	{
		$tries++;
		my ($rc, @found) = $round->(lots($takes), $tries);
		# faster than when it was timed: the machine has become quieter
		$rc == 137 ? $hits++ : ($takes *= 0.9);
		push @wrong, map { "try $tries, exit $rc: $_" } @found;
	}
	is($hits, $rounds, "$what: killed $rounds times");
	is_deeply(\@wrong, [], "$what: all or nothing, and each rerun succeeds");
	return;
}

sub duration
{
	my ($opt, @args) = @_;
	my $rc;
	my $takes = seconds { $rc = $t->kill_pitr(undef, $opt, @args) };
	is($rc, 0, "$args[0], undisturbed");
	return $takes;
}

my $cwd = { cwd => $t->data_dir };
my $name = next_segment();
my $takes = duration($cwd, 'archive', $path);
kill_often('archive', $takes, sub {
	my ($moment) = @_;
	my @wrong;
	unlink $path;
	$name = next_segment();
	my $rc = $t->kill_pitr($moment, $cwd, 'archive', $path);
	my @now = $t->stored($name);
	push @wrong, 'what is stored is not whole' if @now > 1 || grep { $t->unlz4($_) ne $source } @now;
	push @wrong, 'a false success' if $rc == 0 && @now != 1;
	my $again = $t->pitr($cwd, 'archive', $path);
	@now = $t->stored($name);
	push @wrong, "the rerun: $again->[0] $again->[2]"
	  if $again->[0] != 0 || @now != 1 || $t->unlz4($now[0]) ne $source;
	$t->store->delete(@now);
	return ($rc, @wrong);
});
unlink $path;
# such numbers would be a hole for what follows
$t->store->delete(grep { m{/wal/0000000100A0[^/]*/} } $t->objects);

# ---- fetch

my $want = $t->unlz4(($t->stored($last))[0]);
my @fetch = ('fetch', $last, 'pg_wal/RECOVERYXLOG');
my $into = $t->data_dir . "/$fetch[2]";
my $fetched = 0;
$takes = duration($cwd, @fetch);
kill_often('fetch', $takes, sub {
	my ($moment) = @_;
	my @wrong;
	unlink $into;
	my $rc = $t->kill_pitr($moment, $cwd, @fetch);
	$fetched++ if $rc == 137;
	push @wrong, 'what is there is not whole' if -e $into && slurp($into) ne $want;
	push @wrong, 'a false success' if $rc == 0 && !-e $into;
	my $again = $t->pitr($cwd, @fetch);
	push @wrong, "the rerun: $again->[0] $again->[2]" if $again->[0] != 0 || slurp($into) ne $want;
	return ($rc, @wrong);
});
unlink $into;
# leavings of the killed ones must not grow without end, nor disturb the server
my @leavings = grep { !m{/(?:[0-9A-F]{24}|archive_status|summaries|[0-9A-F]{8}\.history|\S+\.backup)$} }
  glob($t->data_dir . '/pg_wal/* ' . $t->data_dir . '/pg_wal/.[!.]*');
cmp_ok(scalar(@leavings), '<=', $fetched, 'fetch: at most one leaving for each kill')
  or diag("@leavings");
unlink @leavings;

# ---- backup

$takes = duration({}, 'backup');
kill_often('backup', $takes, sub {
	my ($moment) = @_;
	my @wrong;
	my %before = map { $_ => 1 } $t->labels;
	my $rc = $t->kill_pitr($moment, {}, 'backup');
	my @new = grep { !$before{$_} } $t->labels;
	push @wrong, 'a false success' if $rc == 0 && @new != 1;
	# killed or not, what counts as a backup must be one
	for my $label (@new)
	{
		my $dir = PostgreSQL::Test::Utils::tempdir('check') . '/data';
		my $r = $t->pitr('restore', '--data-directory', $dir, '--backup', $label);
		push @wrong, "what counts as a backup is none: $r->[0] $r->[2]"
		  if $r->[0] != 0 || !$t->verify_files($dir, $label);
		system('rm', '-rf', $dir);
	}
	my $again = $t->pitr('backup');
	push @wrong, "the rerun: $again->[0] $again->[2]" if $again->[0] != 0;
	# so that hundreds do not fill the disk
	$t->store->delete(map { $t->objects($t->prefix . "/base/$_") } grep { !$before{$_} } $t->labels);
	return ($rc, @wrong);
});
$t->sql("INSERT INTO t VALUES (" . ++$acknowledged . ", 'last')");
$t->archive;
$label = $t->backup;
$t->archive;

# ---- restore

my $rows = $t->fingerprint('t');
is((split / /, $rows)[0], $acknowledged, 'every acknowledged row is in the table');
my $dir = "$t->{base}/restored";
my @restore = ('restore', '--data-directory', $dir, '--target-action', 'promote', '--backup', $label);

sub anything_in
{
	my ($dir) = @_;
	opendir(my $handle, $dir) or return 0;
	my @names = grep { !/^\.\.?$/ } readdir($handle);
	return scalar(@names);
}

sub boots
{
	my ($try) = @_;
	my $copy = $t->target("killed$try");
	rename($dir, $copy->data_dir) or die $!;
	$t->boot($copy, verify => 0);
	is($t->fingerprint('t', $copy), $rows, "every acknowledged row, restored at try $try");
	$t->amcheck($copy);
	$copy->stop;
	system('rm', '-rf', $copy->data_dir);
	return;
}

$takes = duration({}, @restore);
kill_often('restore', $takes, sub {
	my ($moment, $try) = @_;
	my @wrong;
	system('rm', '-rf', $dir);
	my $rc = $t->kill_pitr($moment, {}, @restore);
	my $startable = -e "$dir/global/pg_control";
	push @wrong, 'a false success' if $rc == 0 && !$startable;
	push @wrong, 'startable, but not whole' if $startable && !$t->verify_files($dir, $label);
	my @how = anything_in($dir) ? ($try % 2 ? '--delta' : '--force') : ();
	my $again = $t->pitr(@restore, @how);
	push @wrong, "the rerun @how: $again->[0] $again->[2]"
	  if $again->[0] != 0 || !$t->verify_files($dir, $label);
	boots($try) if !@wrong && $try % 10 == 0;
	return ($rc, @wrong);
});
system('rm', '-rf', $dir);

# ---- the first backup and all the WAL that survived the killings

# hundreds of segments, one fetch after the other
$PostgreSQL::Test::Utils::timeout_default = 900 if long_form();
my ($first) = $t->labels;
my $copy = $t->restore('all', '--target-action', 'promote', '--backup', $first);
$t->boot($copy, label => $first);
is($t->fingerprint('t', $copy), $rows, 'from the first backup, through all WAL: every row');
$t->amcheck($copy);

$_->stop for $copy, $node;
done_testing();
