# Damage and holes in the repository: recovery stops, never opens early; restore refuses at once.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PitrTest->new('main', pitr_conf => { 'gap-wait' => '1s', 'fetch-timeout' => '1s' });
my $node = $t->node;
$t->sql("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 9) AS pad FROM generate_series(1, 30000) g");
my $label = $t->backup('--pack-size', '4MiB');
my @segments;
for my $i (1 .. 4)
{
	$t->sql("INSERT INTO t SELECT g FROM generate_series(1, 1000) g");
	push @segments, $t->archive;
}
my $rows = $t->fingerprint('t');
my $store = $t->store;

# Starts recovery of a restored directory whose WAL is not whole; it must end without opening.
sub never_opens
{
	my ($copy, $what, $log) = @_;
	$t->settle($copy);
	ok($t->run_to_end($copy), "$what: the server stops");
	my $text = slurp($copy->logfile);
	unlike($text, qr/selected new timeline|database system is ready to accept connections$/m,
		"$what: and was never opened");
	like($text, $log, "$what: its log says why");
	ok(-e $copy->data_dir . '/recovery.signal', "$what: it can be started again");
	return;
}

sub opens_now
{
	my ($copy, $what) = @_;
	$copy->start;
	ok($copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), "$what: mended, it opens");
	is($t->fingerprint('t', $copy), $rows, "$what: with every row");
	$copy->stop;
	return;
}

# ---- WAL goes bad after the restore was planned

for my $case ('hole', 'flipped', 'cut')
{
	my $copy = $t->restore($case, '--target-action', 'promote');
	my ($object) = $t->stored($segments[1]);
	my $saved = $store->get($object);
	if ($case eq 'hole') { $store->delete($object) }
	elsif ($case eq 'flipped') { $store->flip($object, 0.4) }
	else { $store->cut($object, -5) }
	never_opens($copy, "$case in the archive", qr/pitr: error: .*$segments[1]/);
	$store->put($object, $saved);
	opens_now($copy, "$case in the archive");
}

# ---- restore looks first

my $to = "$t->{base}/no";
my @range = ([ 'in the middle', $segments[1] ], [ 'behind the backup', $segments[0] ]);
for my $case (@range)
{
	my ($where, $segment) = @$case;
	my ($object) = $t->stored($segment);
	my $saved = $store->take($object);
	for my $args ([], [ '--dry-run' ])
	{
		my $r = $t->pitr('restore', '--data-directory', $to, @$args);
		is_exit($r, 5, "a hole $where" . ($args->[0] ? ', dry run' : ''));
		like_error($r, qr/$segment/, 'the hole is named');
		ok(!-e $to, 'nothing is written');
	}
	$store->put($object, $saved);
}
# a target before the hole can be reached
my ($object) = $t->stored($segments[2]);
my $saved = $store->take($object);
my $r = $t->pitr('restore', '--data-directory', $to, '--dry-run', '--target-immediate');
is_exit($r, 0, 'a target before the hole');
$store->put($object, $saved);

# a stray segment far ahead is a very large hole, not a reason to run out of memory
my $far = '0000000100A0000000000000';
my $content = $t->unlz4($object);
substr($content, 8, 8) = pack('Q<', 0xA0000000 << 24);
spit("$t->{base}/$far", $content);
is_exit($t->archive_file("$t->{base}/$far"), 0, 'a segment far ahead of all others');
my $took = seconds { $r = $t->pitr('restore', '--data-directory', $to) };
is_exit($r, 5, 'it makes a hole');
like_error($r, qr/[0-9A-F]{24}/, 'which is named');
ok(!-e $to, 'nothing is written');
cmp_ok($took, '<', 10, 'found at once');
$took = seconds { is_exit($t->pitr('info'), 0, 'info shows it') };
cmp_ok($took, '<', 10, 'at once, too');
$r = $t->pitr('restore', '--data-directory', $to, '--dry-run', '--target-immediate');
is_exit($r, 0, 'a target before it can be reached');
$store->delete($t->stored($far));

# the segments that the backup itself needs
my @files = $t->pack_files($label);
my ($first) = `cat @files | lz4 -dcq | tar -xOf - backup_label` =~ /\(file ([0-9A-F]{24})\)/;
($object) = $t->stored($first);
$saved = $store->take($object);
$r = $t->pitr('restore', '--data-directory', $to, '--target-immediate');
is_exit($r, 5, "the backup's own first segment is missing");
ok(!-e $to, 'nothing is written');
$store->put($object, $saved);

# ---- damaged backups

my $base = $t->prefix . "/base/$label";

sub damaged
{
	my ($name, $what, $change, $rc) = @_;
	my $key = "$base/$name";
	my $saved = $store->get($key);
	$change->($key);
	my $node = $t->target;
	my $dir = $node->data_dir;
	my $r = $t->pitr('restore', '--data-directory', $dir);
	is_exit($r, $rc || 6, "$what in $name");
	like($r->[2], qr/\Q$label\E/, 'the object or its backup is named');
	ok(!-e "$dir/global/pg_control", 'what was restored cannot be started');
	$store->put($key, $saved);
	if (-d $dir && glob("$dir/*"))
	{
		is_exit($t->pitr('restore', '--data-directory', $dir, '--delta'), 0,
			'with the object mended --delta finishes it');
		$t->verify_files($dir, $label);
	}
	return;
}

my @packs = grep { m{/base-\d+\.tar\.lz4$} } $t->objects($base);
cmp_ok(scalar(@packs), '>', 3, 'several packs');
damaged('base-00000001.tar.lz4', 'a changed byte', sub { $store->flip($_[0], 0.5) });
damaged('base-00000001.tar.lz4', 'a cut', sub { $store->cut($_[0], 1000) });
damaged('base-00000000.tar.lz4', "another pack's content", sub { $store->copy($packs[1], $_[0]) });
damaged('index.lz4', 'a changed byte', sub { $store->flip($_[0], 0.5) });
damaged('index.lz4', 'a cut', sub { $store->cut($_[0], -8) });
damaged('backup_manifest.lz4', 'a changed byte', sub { $store->flip($_[0], 0.5) });
# without a readable backup.json there is no backup
damaged('backup.json', 'a cut', sub { $store->cut($_[0], 200) }, 5);

my $pack = $packs[1];
$saved = $store->take($pack);
$r = $t->pitr('restore', '--data-directory', $to);
ok($r->[0] == 5 || $r->[0] == 6, "a pack is missing ($r->[0])");
ok(!-e "$to/global/pg_control", 'and nothing can be started');
$store->put($pack, $saved);
PitrTest::remove_tree($to);

my $final = $t->restore('final', '--target-action', 'promote');
$t->boot($final, label => $label);
is($t->fingerprint('t', $final), $rows, 'undamaged, all is there');
$_->stop for $final, $node;
done_testing();
