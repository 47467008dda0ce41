# The S3 server is killed and comes back, or hangs: work under way goes on, what can't wait fails with
# the right code, and PostgreSQL's archiver catches up. Disturbs every other user of the server.
use strict;
use warnings;
use FaultProxy;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

need_s3();
my $t = PitrTest->new('outage',
	s3 => 1,
	initdb => ['--wal-segsize=1'],
	pitr_conf => { 'fetch-timeout' => '3s', 'gap-wait' => '1s' });
my $proxy = FaultProxy->new;
my %patient = ('io-timeout' => '40s', 'fetch-timeout' => '40s');
$t->sql("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 9) AS p FROM generate_series(1, 20000) g");
my $label = $t->backup('--pack-size', '1MiB');
my $last = $t->archive;
my $absent = '00000002.history';

sub count_of
{
	my ($what) = @_;
	return $t->sql("SELECT ${what}_count FROM pg_stat_archiver");
}

sub running
{
	my ($name, $args, %option) = @_;
	my @rules = ({ key => 'base-0', do => 'slow', rate => 300_000 });
	return begin({ name => $name, t => $t, args => $args, rules => \@rules, options => \%option },
		FaultProxy->new);
}

# ---- killed

my $restored = "$t->{base}/restored";
my $restore = running('restore',
	[ 'restore', '--backup', $label, '--data-directory', $restored ], %patient);
ok((wait_until { $restore->{proxy}->count(key => qr/base-0/) } 20), 'a restore is under way');
s3_control('down');
my $to = $t->data_dir . '/pg_wal/../fetched';
my @waiting = (running('fetch of what is stored', [ 'fetch', $last, "$to.1" ], %patient),
	running('fetch of what is absent', [ 'fetch', $absent, "$to.2" ], %patient),
	running('backup', ['backup'], %patient));
# PostgreSQL asks again and again, with the configuration's io-timeout or with a short one
my $failed = count_of('failed');
$proxy->in_front_of($t, 'io-timeout' => '1s');
for my $i (1 .. 3)
{
	$t->sql("INSERT INTO t SELECT g, 'outage' FROM generate_series(1, 100) g");
	$t->switch;
}
my $segment = $t->switch;
my $rows = $t->fingerprint('t');
for my $name ($last, $absent)
{
	my $r = $t->fetch($name, "$to.0");
	is_exit($r, 'stop', "no server: fetch of $name");
	ok(!-e "$to.0", 'no file');
}
is_exit($t->pitr('info'), 3, 'no server: info');
ok((wait_until { count_of('failed') > $failed } 30), 'archiving fails, and is said to PostgreSQL');
s3_control('up');
is_exit(finish($waiting[0])->{result}, 0, 'back again: the fetch goes on');
is_exit(finish($waiting[1])->{result}, 1, 'also to a proof of absence');
is_exit(finish($waiting[2])->{result}, 0, 'and the backup');
is_exit(finish($restore)->{result}, 0, 'the restore goes on');
$t->verify_files($restored, $label);
$t->wait_archived($segment);
my %seen;
$seen{$_}++ for $t->stored_segments;
ok(!(grep { $_ > 1 } values %seen), 'every segment is stored once');
my ($from, $until) = map { hex(substr($_, 16)) } (sort keys %seen)[ 0, -1 ];
is(scalar(keys %seen), $until - $from + 1, 'and none is missing');

# ---- hanging

s3_control('stop-osd');
my $hangs = begin({ name => 'hanging', t => $t, rules => [], args => [ 'fetch', $last, "$to.3" ],
	options => { 'io-timeout' => '4s' } }, FaultProxy->new);
my $waits = running('hanging for a while', [ 'fetch', $last, "$to.4" ], 'io-timeout' => '60s');
is_exit(finish($hangs)->{result}, 'stop', 'a server that hangs');
cmp_ok($hangs->{took}, '<', 12, 'is not waited for without end');
s3_control('cont-osd');
is_exit(finish($waits)->{result}, 0, 'one that hung for a while serves');

my $copy = $t->restore('copy', '--backup', $label, '--target-action', 'promote');
$t->boot($copy, label => $label);
is($t->fingerprint('t', $copy), $rows, 'every row that was there');
$_->stop for $copy, $t->node;
done_testing();
