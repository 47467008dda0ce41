# Faults between pitr and its S3 server while much is sent and read: PostgreSQL's archiver under all
# of them at once, backups, multipart uploads, restores. See 200_s3_faults.t.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use FaultProxy;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

need_s3();
my $io = 5;
my %patience = ('io-timeout' => "${io}s");
my $t = PitrTest->new('faults',
	s3 => 1,
	initdb => ['--wal-segsize=1'],
	pitr_conf => { 'archive-timeout' => '20s' });
my $store = $t->store;
my $proxy = FaultProxy->new;
$t->sql("CREATE TABLE t AS SELECT g, repeat(md5(g::text), 9) AS p FROM generate_series(1, 20000) g");
my $label = $t->backup('--pack-size', '1MiB');

# What may happen to any request, each with this probability.
sub mixture
{
	my ($odds) = @_;
	return map { +{ %$_, odds => $odds } } (
		{ do => 'close' },
		{ do => 'reset' },
		{ do => 'lose' },
		{ do => 'lose_reset' },
		{ do => 'cut' },
		{ do => 'cut_reset' },
		{ do => 'cut_request', method => 'PUT' },
		{ do => 'change_request', method => 'PUT' },
		{ says(500, 'InternalError') },
		{ says(500, 'InternalError'), do => 'replace' },
		{ says(503, 'SlowDown') },
		{ says(429, 'TooManyRequests', 'Retry-After' => 1) },
		{ html(502) });
}

# ---- PostgreSQL's archiver in bad weather

$proxy->in_front_of($t, %patience);
$proxy->rules(mixture(0.03));
my @segments;
for my $i (1 .. 12)
{
	$t->sql("INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 300) g");
	push @segments, $t->switch;
	sleep(0.2);
	# now and then all is gone, for longer than an attempt
	if ($i == 6)
	{
		$proxy->down;
		sleep(2);
		$proxy->up;
	}
}
my $rows = $t->fingerprint('t');
$t->switch;
my $end = $t->switch;
$t->wait_archived($end);
my @done = $proxy->requests;
cmp_ok(scalar(grep { $_->{did} } @done), '>', 5, 'the mixture had an effect: '
	. join(' ', grep { $_ } map { $_->{did} } @done));
$proxy->rules;

# Each segment once, and what its name says.
my %seen;
for my $key (grep { m{/wal/.*\.lz4$} } $t->objects)
{
	my ($name, $hash) = $key =~ m{/([0-9A-F]{24})-([0-9a-f]{16})\.lz4$} or next;
	is(substr(sha256_hex($t->unlz4($key)), 0, 16), $hash, "$name has the content of its key");
	$seen{$name}++;
}
my ($begin) = sort keys %seen;
my @missing = grep { !$seen{$_} } map { sprintf('%s%08X', substr($end, 0, 16), $_) }
  hex(substr($begin, 16)) .. hex(substr($end, 16));
is("@missing", '', 'every segment has arrived');
is(join(' ', grep { $seen{$_} > 1 } sort keys %seen), '', 'and each of them once');

# ---- backup

my @backup = ('backup', '--pack-size', '1MiB');

sub backing_up
{
	my ($name, $rules, %more) = @_;
	return { name => "backup: $name", rules => $rules, args => \@backup, t => $t,
		options => \%patience, %more };
}

my @labels = $t->labels;

# What is stored for backups that do not count.
sub leftovers
{
	my $known = join('|', @labels);
	return grep { m{/base/} && !m{/base/(?:$known)/} } $t->objects;
}

my $case = finish(begin(backing_up('everything at once', [ mixture(0.02) ]), $proxy));
is_exit($case->{result}, 0, $case->{name});
cmp_ok(scalar(asked($case, did => qr/./)), '>', 1, "$case->{name}: it was in trouble");
my ($through) = grep { my $l = $_; !grep { $_ eq $l } @labels } $t->labels;
ok($through, "$case->{name}: the backup is there") or BAIL_OUT('no backup');
@labels = $t->labels;

my %pack = (method => 'PUT', key => 'base-0');
my $passing = backing_up('the answer to begin.json is lost',
	[ { method => 'PUT', key => 'begin.json', do => 'lose', times => 1 } ]);
is_exit(finish(begin($passing, $proxy))->{result}, 0, $passing->{name});
my @begun = grep { m{/begin\.json$} } $t->objects;
is(scalar(@begun), 1 + @labels, "$passing->{name}: taken for its own");
@labels = $t->labels;

# An answer that is not S3's is none, whatever its status.
my $unclear = backing_up('the answer to backup.json is lost',
	[ { method => 'PUT', key => 'backup.json', do => 'lose' } ]);
my @failing = together($unclear,
	backing_up('a pack is refused',
		[ { %pack, nth => 3, says(403, 'AccessDenied') } ], at_once => 1),
	backing_up('not implemented', [ { %pack, says(501, 'NotImplemented') } ], at_once => 1),
	backing_up('packs get 503', [ { %pack, says(503, 'SlowDown') } ]),
	backing_up('a page for packs', [ { %pack, html(200) } ]),
	backing_up('nothing for an index',
		[ { method => 'PUT', key => 'index', do => 'answer', status => 200 } ]));
for my $case (@failing)
{
	is_exit($case->{result}, 3, $case->{name});
	cmp_ok($case->{took}, '<', $case->{at_once} ? 6 : $io + 9, "$case->{name}: ends in time");
}
# What is there without pitr's knowing is not removed, and nobody is told that it is there.
like(join("\n", warned($unclear)), qr/whether backup \S+ counts is not known/, 'which is said');
my ($kept) = $unclear->{result}[2] =~ /backup (\S+) begins/;
@labels = sort @labels, $kept;
is(join(' ', $t->labels), "@labels", 'no failed backup counts but that one');
is(join(' ', leftovers()), '', 'nor has it left anything');
my $stopped = backing_up('a signal', [ { %pack, nth => 4, do => 'stall', wait => 60 } ]);
begin($stopped, $proxy);
ok((wait_until { $proxy->count(did => qr/stall/) } 20), 'a backup hangs');
my $took = seconds { kill('TERM', $stopped->{pid}); finish($stopped) };
is_exit($stopped->{result}, 143, 'SIGTERM ends it');
cmp_ok($took, '<', 12, 'in time');
is(join(' ', $t->labels), "@labels", 'it does not count');
is(join(' ', leftovers()), '', 'and is cleared away');

# ---- restore

my $n = 0;

sub restoring
{
	my ($name, $rules, %more) = @_;
	my $dir = "$t->{base}/restored" . ++$n;
	return { name => "restore: $name", rules => $rules, dir => $dir, t => $t,
		options => \%patience, %more,
		args => [ @{ $more{args} || [ 'restore', '--target-immediate' ] },
			'--backup', $more{label} || $through, '--data-directory', $dir ] };
}

my %packs = (method => 'GET', key => 'base-0');
my @cut = (restoring('bodies are cut', [ { %packs, do => 'cut', odds => 0.5 } ]),
	restoring('bodies are reset', [ { %packs, do => 'cut_reset', odds => 0.5 } ]));
for my $case (together(
	@cut,
	restoring('everything at once', [ mixture(0.02) ]),
	restoring('what was kept', [ { query => 'list-type', do => 'close', times => 1 } ],
		label => $kept),
	restoring('a body stalls', [ { %packs, nth => 2, do => 'stall_body', wait => 60 } ]),
	restoring('slow bodies', [ { %packs, do => 'slow', rate => 2_000_000 } ]),
	restoring('listings are cut', [ { query => 'list-type', every => 2, do => 'shorten' } ])))
{
	is_exit($case->{result}, 0, $case->{name});
	cmp_ok(scalar(asked($case, did => qr/./)), '>', 0, "$case->{name}: it was in trouble");
	$t->verify_files($case->{dir}, $case->{label} || $through);
	PitrTest::remove_tree($case->{dir});
}
for my $case (@cut)
{
	my @from = map { ($_->{range} || '') =~ /bytes=(\d+)-/ } asked($case, key => qr/base-0/);
	cmp_ok(scalar(grep { $_ > 0 } @from), '>', 0, "$case->{name}: goes on where it broke off");
}

# Wrong bytes, once and always: never a restore that is wrong and does not say so.
my %fault = (
	'changed once' => [ [ 0, 6 ], do => 'change', times => 1 ],
	'cut once' => [ [ 0, 6 ], do => 'shorten', times => 1 ],
	'changed' => [ [6], do => 'change' ],
	'as HTML' => [ [ 3, 6 ], html(200) ],
	'not there' => [ [ 3, 6 ], says(404, 'NoSuchKey') ],
	'503' => [ [3], says(503, 'SlowDown') ]);
my @damaged;
for my $object (
	[ 'base-00000001', 'changed once', 'cut once', 'changed', 'not there', '503' ],
	[ 'index', 'changed once', 'cut once', 'changed', 'as HTML', 'not there', '503' ],
	[ 'backup_manifest', 'changed once', 'changed', 'not there' ],
	[ "$through/backup.json", 'changed once', 'changed', 'as HTML', 'not there', '503' ],
	[ '/wal/0', 'changed once', 'changed', 'as HTML', '503' ])
{
	my ($key, @names) = @$object;
	# only what recovers to the end looks at WAL
	my %more = $key =~ /wal/ ? (args => ['restore']) : ();
	for my $name (@names)
	{
		my ($codes, @rule) = @{ $fault{$name} };
		my @codes = (@$codes, $key =~ /backup.json/ && $name ne '503' ? 5 : ());    # no such backup
		push @damaged, restoring("$key: $name", [ { method => 'GET', key => $key, @rule } ],
			codes => \@codes, %more);
	}
}
for my $case (together(@damaged))
{
	my $rc = $case->{result}[0];
	ok((grep { $_ == $rc } @{ $case->{codes} }), "$case->{name}: exit @{ $case->{codes} }")
	  or diag("exit code $rc\n$case->{result}[2]");
	if ($rc == 0) { $t->verify_files($case->{dir}, $through) }
	else { ok(!-e "$case->{dir}/global/pg_control", "$case->{name}: nothing that starts") }
	PitrTest::remove_tree($case->{dir});
}

# An outage in the middle, shorter than io-timeout.
$case = begin(restoring('an outage', [ { %packs, nth => 2, do => 'stall', wait => 60 } ],
	options => { 'io-timeout' => '20s' }), $proxy);
ok((wait_until { $proxy->count(did => qr/stall/) } 20), 'a restore is under way');
$proxy->down;
$proxy->rules;
sleep(3);
$proxy->up;
is_exit(finish($case)->{result}, 0, 'after an outage it goes on');
$t->verify_files($case->{dir}, $through);

# What came through is whole: every row.
$proxy->rules(mixture(0.02));
my $copy = $t->restore('copy', '--backup', $through, '--target-action', 'promote');
$t->boot($copy, label => $through);
is($t->fingerprint('t', $copy), $rows, 'every row, through the mixture');
$copy->stop;
$proxy->rules;
my $older = $t->restore('older', '--backup', $label, '--target-action', 'promote');
$t->boot($older, label => $label);
is($t->fingerprint('t', $older), $rows, 'also from the WAL that was archived through it');
$_->stop for $older, $t->node;

# ---- multipart uploads: a segment that is too large for one PUT

my $big = PitrTest->new('big', s3 => 1, initdb => ['--wal-segsize=128'],
	conf => "min_wal_size = 256MB\nmax_wal_size = 1GB\n");
my %large = ('part-size' => '5MiB', %patience);
$big->sql('SELECT 1');
my $whole = $big->unlz4(($big->stored($big->archive))[0]);
$big->node->stop;
substr($whole, 8, 8) = pack('Q<', 77 << 27);
open(my $random, '<:raw', '/dev/urandom') or die $!;
read($random, substr($whole, 8192, 17 << 20), 17 << 20);
my $segment = '000000010000000200000' . '00D';
my $path = spit("$big->{base}/$segment", $whole);
my $hash = substr(sha256_hex($whole), 0, 16);

sub uploads
{
	my $r = $big->store->s3('list_multipart_uploads', Bucket => $big->store->name);
	return @{ $r->{Uploads} || [] };
}

sub sending
{
	my ($name, @rules) = @_;
	return { name => "multipart: $name", rules => \@rules, args => [ 'archive', $path ], t => $big,
		options => \%large };
}

# Archives it, and takes it away again.
sub is_sent
{
	my ($case) = @_;
	finish(begin($case, $proxy));
	is_exit($case->{result}, 0, $case->{name});
	my @keys = $big->stored($segment);
	is(scalar(@keys), 1, "$case->{name}: it is there");
	ok(@keys && $keys[0] =~ /-$hash\./ && $big->unlz4($keys[0]) eq $whole,
		"$case->{name}: as it should be");
	is(scalar(uploads()), 0, "$case->{name}: no upload stays behind");
	$big->store->delete(@keys);
	return $case;
}

my %complete = (method => 'POST', key => $segment, query => '^uploadId');
my %part = (method => 'PUT', query => 'partNumber');
$case = is_sent(sending('no fault'));
is(scalar(asked($case, query => qr/partNumber/, key => qr/$segment/)), 4, 'in four parts');
my %lost = (%complete, do => 'lose', times => 1);
is_sent($_) for sending('the answer to Complete is lost', \%lost),
  # Ceph repeats its answer; others say that the upload is gone
  sending('lost, then NoSuchUpload', \%lost, { %complete, says(404, 'NoSuchUpload') }),
  sending('Complete answers 200 with an error',
	{ %complete, says(200, 'InternalError'), times => 1 }),
  sending('the same, and it was done',
	{ %complete, says(200, 'InternalError'), do => 'replace', times => 1 }),
  sending('parts fail', map { +{ %part, odds => 0.08, %$_ } } { do => 'close' }, { do => 'lose' },
	{ do => 'cut_request' }, { do => 'change_request' }, { says(503, 'SlowDown') });
my @unclear = (sending('Complete always 200 with an error', { %complete, says(200, 'InternalError') }),
	sending('Complete with a page', { %complete, html(200) }));
for my $case (together(@unclear,
	sending('a part is refused', { query => 'partNumber=3', says(403, 'AccessDenied') }),
	sending('NoSuchUpload, and nothing is there', { %complete, says(404, 'NoSuchUpload') }),
	sending('parts get 503', { %part, says(503, 'SlowDown') }),
	sending('parts without an ETag', { %part, do => 'answer', status => 200 })))
{
	is_exit($case->{result}, 3, $case->{name});
	cmp_ok($case->{took}, '<', $io + 9, "$case->{name}: ends in time");
}
is(scalar($big->stored($segment)), 0, 'no object');
# what is perhaps complete is not aborted: on some servers that would take the object
is(scalar(asked($_, method => qr/DELETE/, key => qr/$segment/)), 0, "$_->{name}: not aborted")
  for @unclear;
is(scalar(uploads()), scalar(@unclear), 'no other upload stays behind');
$big->store->s3('abort_multipart_upload', Bucket => $big->store->name, Key => $_->{Key},
	UploadId => $_->{UploadId})
  for uploads();

$case = begin(sending('a signal', { %part, nth => 3, do => 'stall', wait => 60 }), $proxy);
ok((wait_until { $proxy->count(did => qr/stall/) } 20), 'an upload hangs');
$took = seconds { kill('TERM', $case->{pid}); finish($case) };
is_exit($case->{result}, 143, 'SIGTERM ends it');
cmp_ok($took, '<', 7, 'in time');
is(scalar(uploads()), 0, 'and no upload stays behind');
is(scalar($big->stored($segment)), 0, 'nor an object');
done_testing();
