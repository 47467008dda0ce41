# backup: what it stores, what a failure leaves, what it refuses.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $t = PitrTest->new('main');
my $node = $t->node;
$t->sql("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 8) AS pad FROM generate_series(1, 60000) g;
	CREATE INDEX ON t (g); CREATE UNLOGGED TABLE u AS SELECT 1 AS one;
	CREATE TABLE empty (x int)");

# Nothing that looks like a new backup.
my %known;

sub no_new_backup
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_deeply([ grep { !$known{$_} } $t->labels ], [], "$what: no backup.json");
	my $seen = $t->json('info');
	my $text = JSON::PP->new->canonical->encode($seen);
	my @listed = $text =~ /"label":"([^"]+)"/g;
	is_deeply([ grep { !$known{$_} } @listed ], [], "$what: info lists no backup");
	return;
}

# ---- a good one

my $label = $t->backup;
$known{$label} = 1;
like($label, qr/^\d{8}T\d{6}Z-F$/, 'the label');
my $base = $t->prefix . "/base/$label";
my $out = PostgreSQL::Test::Utils::tempdir('tar');
my %files = map { (m{/base/$label/(.*)} ? ($1 => 1) : ()) } $t->objects;
ok(delete $files{$_}, "$_ is there")
  for qw(begin.json backup.json index.lz4 backup_manifest.lz4 base-00000000.tar.lz4);
is_deeply([ grep { !/^base-\d{8}\.tar\.lz4$/ } keys %files ], [], 'and nothing but further packs');
my @packs = $t->pack_files($label);
is(run_cmd('lz4', '-tq', $_), 0, 'lz4 reads ' . (split m{/}, $_)[-1]) for @packs;
is(system("cat @packs | lz4 -dcq | tar -xf - -C $out"), 0, 'cat | lz4 -dc | tar x');
chmod 0700, $out;
$t->verify_files($out, $label);
ok(-d "$out/$_", "$_ is there, empty") for qw(pg_wal pg_replslot pg_notify);
my $unlogged = $t->sql("SELECT pg_relation_filepath('u')");
ok(!-e "$out/$unlogged" && -e "$out/${unlogged}_init", 'of an unlogged table the init fork alone');
ok(!-e "$out/postmaster.pid", 'no postmaster.pid');
my $json = $t->store->get("$base/backup.json");
ok(eval { JSON::PP->new->utf8->decode($json) }, 'backup.json is JSON');
my ($start) = slurp("$out/backup_label") =~ m{START WAL LOCATION: (\S+) };
like($json, qr/"\Q$start\E"/, 'backup.json names the start LSN');
my ($first) = slurp("$out/backup_label") =~ /\(file ([0-9A-F]{24})\)/;
ok($t->stored($first), 'its first segment was stored before it counted');

# ---- options

my $small = $t->backup('--pack-size', '1MiB', '--workers', '1', '--checkpoint', 'spread');
$known{$small} = 1;
@packs = $t->pack_files($small);
cmp_ok(scalar(@packs), '>', 10, 'small packs');
is(system("cat @packs | lz4 -dcq | tar -tf - >/dev/null"), 0, 'in order are one tar');
my $r = $t->pitr('backup', '--progress', 'lines', '--json');
is_exit($r, 0, 'backup --progress lines --json');
$known{$_} = 1 for $t->labels;
like($r->[2], qr/%|MiB/, 'progress goes to stderr as lines');
unlike($r->[2], qr/[\r\x1b]/, 'without terminal control');
ok(eval { JSON::PP->new->utf8->decode($r->[1]) }, 'stdout is JSON');

# two at a time do not disturb each other
my $pid = fork();
if (!$pid)
{
	open(STDOUT, '>', '/dev/null');
	open(STDERR, '>', '/dev/null');
	exec($t->{bin}, '--config', $t->config_file, 'backup') or POSIX::_exit(99);
}
my $at_once = $t->pitr('backup');
waitpid($pid, 0);
my $other = $? >> 8;
is_deeply([ grep { $_ != 0 && $_ != 7 } $other, $at_once->[0] ], [],
	"two backups at a time: 0, or 7 for locked ($other, $at_once->[0])");
my @new = grep { !$known{$_} } $t->labels;
is(scalar(@new), grep({ $_ == 0 } $other, $at_once->[0]), 'one backup for each success');
$known{$_} = 1 for @new;

# ---- PostgreSQL fails

my $lost = "$t->{base}/lost.conf";
(my $text = slurp($t->config_file)) =~ s/port=\d+/port=1/;
spit($lost, $text);
$r = $t->pitr({ config => $lost }, 'backup');
is_exit($r, 4, 'no server there');
like_error($r, qr/connect/, 'no server there');
no_new_backup('no server there');

# Runs a slow backup in the background, does something to it in the middle; returns its result.
sub in_the_middle
{
	my ($config, $code, @args) = @_;
	my ($out, $err) = ('', '');
	my $begun = () = grep { m{/begin\.json$} } $t->objects;
	my $h = IPC::Run::start(
		[ $t->{bin}, '--config', $config, 'backup', '--max-rate', '2MiB', @args ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	ok(wait_until { $begun < grep { m{/begin\.json$} } $t->objects }, 'a slow backup begins');
	usleep(1_500_000);
	$code->($h);
	$h->finish;
	my $raw = $h->full_result(0);
	print "$out$err";
	return [ $raw & 127 ? 128 + ($raw & 127) : $raw >> 8, $out, $err ];
}

my $kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'";
$r = in_the_middle($t->config_file, sub { $t->sql($kill) });
is_exit($r, 4, 'the connection is lost in the middle');
like_error($r, qr/./, 'the connection is lost');
no_new_backup('the connection is lost');
$r = in_the_middle($t->config_file, sub { $_[0]->signal('TERM') });
is_exit($r, 143, 'SIGTERM in the middle');
like_error($r, qr/signal 15/, 'SIGTERM in the middle');
no_new_backup('SIGTERM');

# ---- WAL does not arrive

$t->sql("ALTER SYSTEM SET archive_command = 'false'");
$node->reload;
my $took = seconds { $r = $t->pitr('backup', '--archive-timeout', '4s') };
is_exit($r, 3, 'archiving does not work');
like_error($r, qr/archiv/, 'archiving does not work');
cmp_ok($took, '<', 30, 'and ends in time');
no_new_backup('archiving does not work');
$t->sql("ALTER SYSTEM RESET archive_command");
$node->reload;
$t->archive;

# archived, but to another place: the WAL never shows up in this repository
my $elsewhere = $t->store->sibling('elsewhere');
$r = $t->pitr({ config => $t->config_with($elsewhere) }, 'backup', '--archive-timeout', '4s');
is_exit($r, 3, 'the server archives to another repository');
ok(!grep({ m{/backup\.json$} } $elsewhere->list), 'and there is no backup');

# ---- damage on the server: the backup is kept, marked, and not counted as good

$t->sql('CREATE TABLE rotten AS SELECT g FROM generate_series(1, 2000) g; CHECKPOINT');
my $file = $t->data_dir . '/' . $t->sql("SELECT pg_relation_filepath('rotten')");
$node->stop;
open(my $fh, '+<:raw', $file) or die $!;
seek($fh, 8192 + 4000, 0);
print $fh 'rot';
close $fh;
$node->start;
my %before = map { $_ => 1 } $t->labels;
$r = $t->pitr('backup');
is_exit($r, 6, 'a page with a bad checksum');
my ($damaged) = grep { !$before{$_} } $t->labels;
ok($damaged, 'the backup is kept');
like($r->[2], qr/\Q$1\E/, 'the file is named') if $file =~ m{(\d+/\d+)$};
like($t->store->get($t->prefix . "/base/$damaged/backup.json"), qr/damaged/, 'backup.json says damaged');
my $to = PostgreSQL::Test::Utils::tempdir('r') . '/data';
$r = $t->pitr('restore', '--data-directory', $to, '--backup', $damaged);
ok($r->[0] == 5 || $r->[0] == 6, "it is not restored without being told to ($r->[0])");
like_error($r, qr/damaged/, 'it is not restored without being told to');
ok(!-e $to, 'and nothing is written');
$r = $t->pitr('restore', '--data-directory', $to, '--dry-run');
is_exit($r, 0, 'a restore takes the good one before it');
unlike($r->[1], qr/\Q$damaged\E/, 'which is not this');
$r = $t->pitr('restore', '--data-directory', $to, '--backup', $damaged, '--allow-damaged');
is_exit($r, 0, 'restore --allow-damaged');
$t->sql('DROP TABLE rotten');
$known{$damaged} = 1;

# ---- from a standby: promotion voids it

$node->backup('standby');
my $standby = $t->target('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby, 'replay');
my $from_standby = "$t->{base}/standby.conf";
my $port = $standby->port;
($text = slurp($t->config_file)) =~ s/port=\d+/port=$port/;
spit($from_standby, $text);
my $backed_up;
$pid = fork();
if (!$pid)
{
	open(STDOUT, '>', '/dev/null');
	exec($t->{bin}, '--config', $from_standby, 'backup') or POSIX::_exit(99);
}
# a standby can't switch WAL: the primary's next segments bring the backup's last one
wait_until { $t->archive; waitpid($pid, POSIX::WNOHANG()) == $pid and $backed_up = $?, 1 } 60;
is($backed_up, 0, 'a backup from a standby');
($text) = grep { !$known{$_} && !$before{$_} } $t->labels;
ok($text, 'is there');
$known{$_} = 1 for $t->labels;
$node->wait_for_catchup($standby, 'replay');
$r = in_the_middle($from_standby, sub { $standby->promote });
is_exit($r, 4, 'promotion in the middle of a backup');
no_new_backup('promotion');
$standby->stop;

# ---- memory does not grow with the number of files

SKIP:
{
	skip 'memory under sanitizers says nothing', 2 if `nm $t->{bin} 2>/dev/null` =~ /__asan_init/;
	my $many = $t->data_dir . '/many';
	my $files = rounds(30_000, 1_000_000);
	for my $i (0 .. $files - 1)
	{
		my $dir = sprintf('%s/%03d', $many, $i / 2000);
		mkdir $many if $i == 0;
		mkdir $dir if $i % 2000 == 0;
		open(my $fh, '>', "$dir/a_rather_long_file_name_$i") or die $!;
		print $fh $i;
	}
	my $peak = 0;
	my $h = IPC::Run::start(
		[ $t->{bin}, '--config', $t->config_file, 'backup', '--workers', '2', '--pack-size', '4MiB' ],
		'<', \undef, '>', '/dev/null', IPC::Run::timeout(600));
	my $child = $h->{KIDS}[0]{PID};
	while ($h->pumpable || kill(0, $child))
	{
		if (open(my $status, '<', "/proc/$child/status"))
		{
			my ($kib) = join('', <$status>) =~ /VmHWM:\s+(\d+) kB/;
			last unless $kib;    # a zombie has none
			$peak = $kib if $kib > $peak;
		}
		usleep(20_000);
	}
	ok($h->finish, "a backup with $files small files");
	cmp_ok($peak, '<', (64 + 2 * 2 * 4) << 10, "stays under 64 MiB + 2 packs a worker ($peak KiB)");
}

$node->stop;
done_testing();
