# A full disk, for a repository in a directory and for what is restored: an error, nothing
# half-written, and everything works once there is room.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $small = $ENV{PITR_TEST_SMALL_FS};
if (!$small)
{
	skip_loudly('full disks: no small file system (mounting one needs root)');
	plan skip_all => 'no small file system';
}

my $t = PitrTest->new('main', archive_command => 'true');
my $node = $t->node;
my $ballast = "$small/ballast";
$t->sql("CREATE TABLE r AS SELECT g, md5(random()::text) || md5(random()::text) AS pad "
	. "FROM generate_series(1, 60000) g");

# Leaves so many KiB free.
sub fill
{
	my ($free) = @_;
	unlink $ballast;
	my $have = `df -k --output=avail $small`;
	($have) = $have =~ /(\d+)/;
	open(my $fh, '>', $ballast) or die $!;
	my $kib = $have - $free;
	print $fh "\0" x 1024 for 1 .. $kib;
	close $fh or die "filling: $!";
	return;
}

# ---- a repository on a full disk

sub archive_to
{
	my ($store, $config) = @_;
	my $segment = $t->switch;
	my $wal = $t->data_dir . "/pg_wal/$segment";
	ok(-f $wal, 'a segment of incompressible rows');
	fill(200);
	my $r = $t->pitr({ cwd => $t->data_dir, config => $config }, 'archive', "pg_wal/$segment");
	is_exit($r, 3, 'archive to a full disk');
	like_error($r, qr/[Nn]o space/, 'archive to a full disk');
	is_deeply([ $store->list ], [], 'leaves nothing');
	unlink $ballast;
	$r = $t->pitr({ cwd => $t->data_dir, config => $config }, 'archive', "pg_wal/$segment");
	is_exit($r, 0, 'with room again it works');
	is(scalar(grep { m{/$segment-} } $store->list), 1, 'and the segment is stored');
	$store->remove;
	return;
}

sub backup_to
{
	my ($store, $config) = @_;
	$t->sql("ALTER SYSTEM RESET archive_command");
	$node->append_conf('postgresql.conf', "archive_command = '$t->{bin} --config $config archive %p'");
	$node->reload;
	$t->archive;
	fill(600);
	my $r = $t->pitr({ config => $config }, 'backup', '--archive-timeout', '5s');
	is_exit($r, 3, 'backup to a full disk');
	like($r->[2], qr/[Nn]o space/, 'says so');
	is_deeply([ grep { /backup\.json/ } $store->list ], [], 'and is no backup');
	unlink $ballast;
	$t->archive;
	$r = $t->pitr({ config => $config }, 'backup');
	is_exit($r, 0, 'with room again it works');
	$store->remove;
	return;
}

SKIP:
{
	skip 'a bucket is on no disk of ours', 1 if on_s3();
	my $store = PitrStore->directory("$small/repo");
	my $config = $t->config_with($store);
	$store->make;
	archive_to($store, $config);
	backup_to($store, $config);
}

# ---- fetch and restore onto a full disk, from a repository with room

$node->append_conf('postgresql.conf', "archive_command = '" . $t->shell_command . " archive %p'");
$node->reload;
my $segment = $t->archive;
my $label = $t->backup;
my $data = "$small/data";
mkdir $data, 0700;
mkdir "$data/$_", 0700 for qw(global pg_wal);
system('cp', $t->data_dir . '/global/pg_control', "$data/global/");
system('cp', $t->data_dir . '/PG_VERSION', $data);
spit("$data/recovery.signal", '');
fill(3000);
my $r = $t->fetch($segment, 'pg_wal/RECOVERYXLOG', cwd => $data);
is_exit($r, 'stop', 'fetch onto a full disk');
like($r->[2], qr/[Nn]o space/, 'says so');
is_deeply([ glob("$data/pg_wal/* $data/pg_wal/.[!.]*") ], [], 'and leaves nothing');
unlink $ballast;
is_exit($t->fetch($segment, 'pg_wal/RECOVERYXLOG', cwd => $data), 0, 'with room again it works');
system('rm', '-rf', $data);

fill(9000);
$r = $t->pitr('restore', '--data-directory', $data);
isnt($r->[0], 0, 'restore onto a disk that is too small');
like($r->[2], qr/[Nn]o space|free/, 'says so');
ok(!-e $data, 'before a byte is written');
unlink $ballast;
# room enough for the bytes, but not for so many files: found only on the way
mkdir "$small/many";
my ($inodes) = `df --output=iavail $small` =~ /(\d+)/;
spit("$small/many/$_", '') for 1 .. $inodes - 500;
$r = $t->pitr('restore', '--data-directory', $data);
isnt($r->[0], 0, 'restore onto a disk that becomes full');
like($r->[2], qr/[Nn]o space/, 'says so');
like($r->[2], qr/--delta/, 'and how to go on');
ok(-d $data && !-e "$data/global/pg_control", 'what is there cannot be started');
system('rm', '-rf', "$small/many");
is_exit($t->pitr('restore', '--data-directory', $data, '--delta'), 0,
	'with room again --delta finishes it');
$t->verify_files($data, $label);
system('rm', '-rf', $data);

$node->stop;
done_testing();
