# fetch: 0, 1 only for proven absence, 126 and more for any doubt. Each rule of its contract.
use strict;
use warnings;
use File::Copy qw(copy);
use File::Path qw(make_path);
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PitrTest->new('main');
my $node = $t->node;
my @segments;
for my $i (1 .. 4)
{
	$t->sql("CREATE TABLE t$i AS SELECT g FROM generate_series(1, 100) g");
	push @segments, $t->archive;
}
my $absent = substr($segments[-1], 0, 16) . sprintf('%08X', hex(substr($segments[-1], 16)) + 1);
my $store = $t->store;
my $wal = $t->prefix . '/wal';

# Data directories to fetch into: identity and a signal file are all that fetch looks at.
my $dirs = PostgreSQL::Test::Utils::tempdir('data');
my $n = 0;

sub data_dir
{
	my ($signal) = @_;
	my $dir = "$dirs/" . ++$n . "/data";
	make_path("$dir/global", "$dir/pg_wal");
	copy($t->data_dir . "/global/pg_control", "$dir/global/pg_control") or die $!;
	copy($t->data_dir . "/PG_VERSION", "$dir/PG_VERSION") or die $!;
	spit("$dir/$signal", '') if $signal;
	return $dir;
}

my %dir = (
	recovery => data_dir('recovery.signal'),
	standby => data_dir('standby.signal'),
	other => data_dir());

# Fetches as PostgreSQL does, checks the exit code and that nothing but a success leaves a file.
sub fetch_is
{
	my ($mode, $name, $expected, $what, %opt) = @_;
	my $to = $name =~ /history/ ? 'pg_wal/RECOVERYHISTORY' : 'pg_wal/RECOVERYXLOG';
	my $r;
	my $dir = $opt{dir} || $dir{$mode};
	$opt{took} = seconds { $r = $t->fetch($name, $to, cwd => $dir, config => $opt{config}) };
	is_exit($r, $expected, "$mode: $what");
	my @left = grep { -s $_ } glob("$dir/pg_wal/* $dir/pg_wal/.[!.]*");
	is(scalar(@left), $expected eq '0' ? 1 : 0, "$mode: $what: files in pg_wal") or diag("@left");
	unlink @left;
	like($r->[2], $opt{like}, "$mode: $what: says so") if $opt{like};
	cmp_ok($opt{took}, '>=', $opt{least}, "$mode: $what: waits") if $opt{least};
	cmp_ok($opt{took}, '<', $opt{most} || 20, "$mode: $what: not for ever");
	return $r;
}

# ---- what is there

for my $mode (sort keys %dir)
{
	fetch_is($mode, $segments[0], 0, 'a stored segment');
	fetch_is($mode, $segments[-1], 0, 'the last segment');
	fetch_is($mode, $segments[-1], 0, 'the last segment again');
	fetch_is($mode, $absent, 1, 'the segment behind the last', most => 2);
	fetch_is($mode, '00000001.history', 1, "timeline 1's history file");
	fetch_is($mode, '00000002.history', 1, 'an absent history file');
}
my $into = "$dir{other}/pg_wal/RECOVERYXLOG";
$t->fetch($segments[1], 'pg_wal/RECOVERYXLOG', cwd => $dir{other});
ok(slurp($into) eq $t->unlz4(($t->stored($segments[1]))[0]), 'its content is what was archived');
is((stat $into)[2] & 0777, 0600, 'its mode is 0600');
is_exit($t->fetch($segments[2], 'pg_wal/RECOVERYXLOG', cwd => $dir{other}),
	0, 'over a file that is there');
ok(slurp($into) eq $t->unlz4(($t->stored($segments[2]))[0]), 'which is replaced');
unlink $into;
$store->put("$wal/00000002.history", "1\t0/9000000\tno recovery target specified\n");
fetch_is('recovery', '00000002.history', 0, 'a stored history file');
fetch_is('recovery', '00000003.history', 1, 'the one behind it');
# A later timeline that forks behind the absent segment shows that it was written once.
fetch_is('recovery', $absent, 'stop', 'a segment before the fork of a stored timeline', least => 2);
$store->put("$wal/00000002.history", sprintf("1\t0/%X\tno recovery target specified\n",
	(hex(substr($segments[2], 16)) << 24) + 0x100));
fetch_is('recovery', $absent, 1, 'a segment behind the fork of a stored timeline');
$store->delete("$wal/00000002.history");

# pg_rewind runs elsewhere and gives an absolute path
my $rewound = data_dir();
my $r = $t->fetch($segments[0], "$rewound/pg_wal/$segments[0]", cwd => '/');
is_exit($r, 0, 'an absolute path, from elsewhere, as pg_rewind asks');
is(-s "$rewound/pg_wal/$segments[0]", 16 << 20, 'is served');
is_exit($t->fetch($absent, "$rewound/pg_wal/$absent", cwd => '/'), 1, 'and proven absent');

# a partial segment is never given for the whole one
my ($last) = $t->stored($segments[3]);
my $content = $store->take($last);
(my $partial = $last) =~ s/-[0-9a-f]{16}\.lz4$/.partial-0123456789abcdef.lz4/;
$store->put($partial, $content);
fetch_is('recovery', $segments[3], 1, 'a segment of which only a .partial is stored');
$store->delete($partial);
$store->put($last, $content);

# ---- a hole is not the end

my ($hole) = $t->stored($segments[1]);
$content = $store->take($hole);
for my $mode (qw(recovery other))
{
	fetch_is($mode, $segments[1], 'stop', 'a hole', like => qr/$segments[1].*missing/, least => 2);
}
fetch_is('standby', $segments[1], 1, 'a hole', like => qr/^pitr: warning: /m, least => 2);
spit("$dir{recovery}/pg_wal/$segments[1]", '');
fetch_is('recovery', $segments[1], 1, 'a hole, and the segment in pg_wal', most => 2);
unlink "$dir{recovery}/pg_wal/$segments[1]";
# it appears while fetch waits: with more patience, since another client may be slow to start
my $patient = spit("$dirs/patient.conf",
	slurp($t->config_file) =~ s/^(gap-wait|fetch-timeout) = .*$/$1 = 10s/mgr);
my $pid = fork();
if (!$pid)
{
	sleep 1;
	$store->put($hole, $content);
	POSIX::_exit(0);
}
fetch_is('recovery', $segments[1], 0, 'a hole that closes while fetch waits', config => $patient);
waitpid($pid, 0);
$store->put("$wal/00000004.history", "1\t0/9000000\tx\n");
fetch_is('recovery', '00000003.history', 'stop', 'a hole in the history files', least => 2);
$store->delete("$wal/00000004.history");

# ---- what proves nothing

my $typo = "$dirs/typo.conf";
(my $text = slurp($t->config_file)) =~ s/\[cluster:main\]/[cluster:mian]/;
spit($typo, $text);
my $nowhere = $t->config_with($store->missing);
for my $config ($typo, $nowhere)
{
	my $what = $config eq $typo ? 'a mistyped cluster' : 'a place that is not there';
	for my $name ($absent, '00000002.history')
	{
		fetch_is('recovery', $name, 'stop', "$what, $name", config => $config);
		fetch_is('other', $name, 'stop', "$what, $name", config => $config);
		# a repository that is gone as a whole is doubt, and doubt about a history file stops
		my $gone = $config eq $nowhere && $name =~ /history/;
		fetch_is('standby', $name, $gone ? 'stop' : 1, "$what, $name", config => $config);
	}
}

# ---- a repository that can't be read

my $unknown = data_dir('standby.signal');
fetch_is('standby', '00000005.history', 1, 'an absent history file, proven');
$store->forbid('read', $wal);
for my $name ($segments[0], $absent)
{
	fetch_is('recovery', $name, 'stop', "unreadable, $name", least => 3);
	fetch_is('other', $name, 'stop', "unreadable, $name", most => 3);
	fetch_is('standby', $name, 1, "unreadable, $name", least => 3, like => qr/^pitr: warning: /m);
}
fetch_is('recovery', '00000005.history', 'stop', 'unreadable, a history file');
fetch_is('standby', '00000005.history', 1, 'unreadable, a history file lately proven absent');
fetch_is('standby', '00000006.history', 'stop', 'unreadable, a history file never asked for');
fetch_is('standby', '00000005.history', 'stop', 'unreadable, in a data directory that never asked',
	dir => $unknown);
my ($memory) = glob("$dirs/*/.pitr-data/00000005.history.absent");
ok($memory, 'the memory of it lies beside the data directory') or $memory = "$dirs/none";
my $old = slurp($memory);
$old =~ s/^(\d+)/$1 - 601_000_000/e;
spit($memory, $old);
fetch_is('standby', '00000005.history', 'stop',
	'unreadable, a history file proven absent 10 minutes ago');
# a fault that passes
$pid = fork();
if (!$pid)
{
	sleep 1;
	$store->allow;
	POSIX::_exit(0);
}
fetch_is('recovery', $segments[0], 0, 'a fault that passes is sat out', config => $patient);
waitpid($pid, 0);

# ---- damage

sub damaged
{
	my ($what, $change) = @_;
	my ($object) = $t->stored($segments[1]);
	my $saved = $store->get($object);
	$change->($object);
	for my $mode (qw(recovery other))
	{
		fetch_is($mode, $segments[1], 'stop', $what);
	}
	fetch_is('standby', $segments[1], 1, $what, like => qr/^pitr: warning: /m);
	$store->put($object, $saved);
	return;
}

sub compress
{
	my ($raw, $object) = @_;
	spit("$dirs/raw", $raw);
	run_cmd('lz4', '-qf', "$dirs/raw", "$dirs/raw.lz4");
	$store->put($object, slurp("$dirs/raw.lz4"));
	return;
}

damaged("a changed byte at $_ of an object", do { my $at = $_; sub { $store->flip($_[0], $at) } })
  for (0, 0.1, 0.5, 0.9, 1);
damaged('a cut object', sub { $store->cut($_[0], length($store->get($_[0])) / 2) });
damaged('an empty object', sub { $store->put($_[0], '') });
damaged('bytes behind the object', sub { $store->put($_[0], $store->get($_[0]) . 'more') });
damaged("another segment's content",
	sub { $store->copy(($t->stored($segments[2]))[0], $_[0]) });
my $whole = $t->unlz4(($t->stored($segments[1]))[0]);
damaged('a sound object with a byte changed before compression',
	sub { my $x = $whole; substr($x, 5000, 1) ^= "\x01"; compress($x, $_[0]) });
damaged('a sound object of half a segment', sub { compress(substr($whole, 0, 8 << 20), $_[0]) });
damaged('a sound object of more than a segment', sub { compress($whole . "\0", $_[0]) });
fetch_is('recovery', $segments[1], 0, 'the sound object again');

my ($object) = $t->stored($segments[1]);
(my $twin = $object) =~ s/-[0-9a-f]{16}\.lz4$/-00000000deadbeef.lz4/;
$store->copy($object, $twin);
fetch_is('recovery', $segments[1], 'stop', 'two contents of one segment');
$store->delete($twin);

# ---- two repositories

# the second is as the first is now
my $second = $store->clone('second');
my $two = "$dirs/two.conf";
($text = slurp($t->config_file)) =~ s/^(?=\[cluster)/$second->section('second')/me;
spit($two, $text);
is_exit($t->pitr({ cwd => $t->data_dir, config => $two }, 'archive', "pg_wal/$segments[3]"),
	0, 'the last segment into both')
  if -f $t->data_dir . "/pg_wal/$segments[3]";
($object) = $t->stored($segments[1]);
fetch_is('recovery', $segments[1], 0, 'both repositories have it', config => $two);
$store->flip($object, 0.5);
fetch_is('recovery', $segments[1], 0, 'the first is damaged', config => $two);
$store->delete($object);
fetch_is('recovery', $segments[1], 0, 'the first lacks it', config => $two);
fetch_is('recovery', $absent, 1, 'both lack it', config => $two);
$store->forbid('read', $wal);
fetch_is('recovery', $segments[1], 0, 'the first is unreadable', config => $two);
fetch_is('recovery', $absent, 'stop', 'the first is unreadable, the second lacks it',
	config => $two);
$store->allow;
$second->clear;
fetch_is('recovery', $absent, 1, 'the second is empty, the first proves', config => $two);

# ---- bad calls stop recovery too

my $broken = "$dirs/broken.conf";
spit($broken, "[global]\nno-such-option = 1\n");
fetch_is('recovery', $segments[0], 'stop', 'a broken configuration', config => $broken);
fetch_is('recovery', $segments[0], 'stop', 'no configuration file', config => "$dirs/no.conf");
is_exit($t->pitr({ cwd => $dir{recovery} }, 'fetch'), 'stop', 'no arguments');
is_exit($t->fetch('nonsense', 'pg_wal/RECOVERYXLOG', cwd => $dir{recovery}), 'stop', 'no WAL name');
is_exit($t->fetch($segments[0], 'pg_wal/X', cwd => '/'), 'stop', 'no data directory');
is_exit($t->fetch($segments[0], 'no/such/place', cwd => $dir{recovery}), 'stop', 'no such place');
chmod 0500, "$dir{recovery}/pg_wal";
is_exit($t->fetch($segments[0], 'pg_wal/RECOVERYXLOG', cwd => $dir{recovery}),
	'stop', 'a directory that it may not write');
chmod 0700, "$dir{recovery}/pg_wal";

$node->stop;
done_testing();
