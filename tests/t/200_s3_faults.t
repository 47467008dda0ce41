# Faults between pitr and its S3 server: passing ones are sat out, lasting ones end in time with the
# right exit code, and nothing is ever believed that was not proven. The server is real; a proxy
# breaks what goes through it.
use strict;
use warnings;
use FaultProxy;
use File::Copy qw(copy);
use File::Path qw(make_path);
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep stat time);

need_s3();
my $io = 6;
my %patience = ('io-timeout' => "${io}s");
my $t = PitrTest->new('faults',
	s3 => 1,
	initdb => ['--wal-segsize=1'],
	pitr_conf => { 'fetch-timeout' => '3s', 'gap-wait' => '1s' });
my $store = $t->store;
my $proxy = FaultProxy->new;
$t->sql("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 20000) g");
my $last = $t->archive;

my $wal = '/wal/.*lz4$';
my $list = 'list-type=';

# ---- segments to archive by hand, each another one

my $whole = $t->unlz4(($t->stored($last))[0]);
my $segno = 0x5000;
make_path("$t->{base}/seg");

sub segment
{
	$segno++;
	my $content = $whole;
	substr($content, 8, 8) = pack('Q<', $segno << 20);
	open(my $random, '<:raw', '/dev/urandom') or die $!;
	read($random, substr($content, 8192), (1 << 20) - 8192);
	return spit(sprintf("$t->{base}/seg/%08X%08X%08X", 1, $segno >> 12, $segno & 0xFFF), $content);
}

sub archiving
{
	my ($name, $rules, %more) = @_;
	my $path = segment();
	return { name => "archive: $name", rules => $rules, args => [ 'archive', $path ], t => $t,
		options => \%patience, segment => substr($path, -24), path => $path, %more };
}

# How often its segment is stored; it must be right.
sub is_stored
{
	my ($case, $expected) = @_;
	my @keys = $t->stored($case->{segment});
	is(scalar(@keys), $expected, "$case->{name}: stored $expected times");
	ok($t->unlz4($keys[0]) eq slurp($case->{path}), "$case->{name}: with its content") if @keys;
	return;
}

# Remembered from here on: that the server honours If-None-Match.
is_exit(finish(begin(archiving('no fault', []), $proxy))->{result}, 0, 'archive through the proxy');

# ---- directories to fetch into

my $dirs = PostgreSQL::Test::Utils::tempdir('data');
my $made = 0;

sub data_dir
{
	my ($mode) = @_;
	my $dir = "$dirs/" . ++$made . '/data';
	make_path("$dir/global", "$dir/pg_wal");
	copy($t->data_dir . "/global/pg_control", "$dir/global/pg_control") or die $!;
	copy($t->data_dir . "/PG_VERSION", "$dir/PG_VERSION") or die $!;
	spit("$dir/$mode.signal", '') unless $mode eq 'other';
	return $dir;
}

sub fetching
{
	my ($mode, $segment, $name, $rules, %more) = @_;
	my $to = $segment =~ /history/ ? 'pg_wal/RECOVERYHISTORY' : 'pg_wal/RECOVERYXLOG';
	return { name => "fetch, $mode: $name", rules => $rules, args => [ 'fetch', $segment, $to ],
		t => $t, options => \%patience, cwd => data_dir($mode), to => $to, %more };
}

# Two that take half a minute run meanwhile.
my %patient = ('fetch-timeout' => '5m', 'io-timeout' => '10s');
my @slow = map { begin($_, FaultProxy->new) }
  fetching('standby', $last, 'a hanging server', [ { do => 'stall', wait => 300 } ],
	options => \%patient),
  fetching('standby', $last, 'a dead server', [ { do => 'close' } ], options => \%patient);

# ---- archive: faults that pass

my %put = (method => 'PUT', key => $wal);
my %once = (times => 1);
for my $case (together(
	(map { archiving("$_ once", [ { %put, %once, do => $_ } ]) }
		  qw(close reset cut_request change_request lose lose_reset)),
	(map { archiving("@$_ once", [ { %put, %once, says(@$_) } ]) }
		  [ 500, 'InternalError' ], [ 503, 'SlowDown' ], [ 408, 'RequestTimeout' ],
		[ 409, 'OperationAborted' ], [ 400, 'BadDigest' ], [ 200, 'InternalError' ]),
	(map { archiving("$$_[0] HTML once", [ { %put, %once, html($$_[0]) } ]) } [502], [504]),
	archiving('500, and it was done',
		[ { %put, %once, says(500, 'InternalError'), do => 'replace' } ]),
	(map { archiving("listing: $_ once", [ { query => $list, %once, do => $_ } ]) }
		  qw(close reset lose cut cut_reset shorten)),
	archiving('listing: 503', [ { query => $list, %once, says(503, 'SlowDown') } ]),
	archiving('listing: 200 with an error', [ { query => $list, %once, says(200, 'SlowDown') } ]),
	archiving('slow', [ { query => $list, do => 'slow', rate => 2000 } ])))
{
	is_exit($case->{result}, 0, $case->{name});
	is_stored($case, 1);
	is(join("\n", warned($case)), '', "$case->{name}: not worth a word") if $case->{took} < 3;
}
for my $case (together(map { archiving("@$_", [ { %put, %once, says(@$_, 'Retry-After' => 2) } ]) }
	[ 429, 'TooManyRequests' ], [ 503, 'SlowDown' ]))
{
	is_exit($case->{result}, 0, "$case->{name} with Retry-After");
	cmp_ok($case->{took}, '>=', 2, 'which is waited for');
}

# ---- archive: the answer is lost after the object was stored

for my $do (qw(lose lose_reset))
{
	my $case = archiving("the answer is lost ($do)", [ { %put, %once, do => $do } ]);
	finish(begin($case, $proxy));
	is_exit($case->{result}, 0, $case->{name});
	is_stored($case, 1);
	is(join(' ', map { $_->{status} } asked($case, method => qr/PUT/)), '0 412',
		"$case->{name}: the object in the way is its own");
	is(scalar(asked($case, method => qr/GET/, key => qr/lz4/)), 1,
		"$case->{name}: read and compared");
}
my $killed = archiving('kill -9 before the answer', [ { %put, do => 'stall_head', wait => 60 } ]);
begin($killed, $proxy);
ok((wait_until { $t->stored($killed->{segment}) } 20), 'stored, and the answer held back');
kill(9, $killed->{pid});
is_exit(finish($killed)->{result}, 137, 'kill -9');
$killed->{rules} = [];
is_exit(finish(begin($killed, $proxy))->{result}, 0, "$killed->{name}: the rerun");
is_stored($killed, 1);

# ---- archive: faults that last

my @cases = together(
	(map { archiving("$_ lasts", [ { %put, do => $_ } ],
			stored => 0, message => qr/Empty reply|reset|closed/) } qw(close reset cut_request)),
	archiving('change_request lasts', [ { %put, do => 'change_request' } ],
		stored => 0, message => qr/XAmzContentSHA256Mismatch/),
	archiving('lose lasts', [ { %put, do => 'lose' } ], stored => 1, message => qr/Empty reply/),
	archiving('stall lasts', [ { %put, do => 'stall', wait => 60 } ],
		stored => 0, message => qr/too slow|timed out/),
	archiving('503 lasts', [ { %put, says(503, 'SlowDown') } ],
		stored => 0, message => qr/SlowDown/),
	archiving('429 lasts', [ { %put, says(429, 'TooManyRequests', 'Retry-After' => 1) } ],
		stored => 0, message => qr/TooManyRequests/),
	archiving('502 HTML lasts', [ { %put, html(502) } ], stored => 0, message => qr/HTTP 502/),
	archiving('listing: lose lasts', [ { query => $list, do => 'lose' } ],
		stored => 0, message => qr/Empty reply/),
	archiving('listing: stall_body lasts', [ { query => $list, do => 'stall_body', wait => 60 } ],
		stored => 0, message => qr/too slow|timed out/, warned => 1),
	archiving('listing: 200 with an error lasts', [ { query => $list, says(200, 'SlowDown') } ],
		stored => 0, message => qr/SlowDown/));
for my $case (@cases)
{
	is_exit($case->{result}, 3, $case->{name});
	like_error($case->{result}, qr/$case->{segment} not archived.*$case->{message}/, $case->{name});
	lasts_about($case, $io);
	is_stored($case, $case->{stored});
	my @told = warned($case);
	cmp_ok(scalar(@told), '<=', 1, "$case->{name}: one warning at most") or diag("@told");
	like("@told", qr/trying again for up to \d+ s/, "$case->{name}: warned") if $case->{warned};
}
# A refusal is not repeated.
for my $case (together(
	map({ archiving("$$_[0] $$_[1]", [ { %put, says(@$_) } ], message => qr/$$_[1].*$$_[0]/) }
		[ 403, 'AccessDenied' ], [ 404, 'NoSuchBucket' ], [ 501, 'NotImplemented' ],
		[ 400, 'InvalidArgument' ], [ 404, 'NoSuchKey' ]),
	archiving('412 that is not true', [ { %put, says(412, 'PreconditionFailed') } ],
		message => qr/NoSuchKey/)))
{
	is_exit($case->{result}, 3, $case->{name});
	like_error($case->{result}, $case->{message}, $case->{name});
	cmp_ok($case->{took}, '<', 3, "$case->{name}: at once");
	is(scalar(asked($case, method => qr/PUT/)), 1, "$case->{name}: asked once");
}
# What does not come from an S3 server proves nothing.
for my $case (together(archiving('200 with HTML', [ { %put, html(200) } ]),
	archiving('200 and nothing more', [ { %put, do => 'answer', status => 200 } ]),
	archiving('204', [ { %put, do => 'answer', status => 204 } ])))
{
	is_exit($case->{result}, 3, $case->{name});
	is_stored($case, 0);
}

# ---- fetch: faults that pass

my $absent = sprintf('%s%08X', substr($last, 0, 16), hex(substr($last, 16)) + 1);
# what was archived by hand lies behind it
$store->delete(grep { /\/wal\/0000000100000005\// } $t->objects);
my $content = $t->unlz4(($t->stored($last))[0]);

sub is_served
{
	my ($case) = @_;
	my $file = "$case->{cwd}/$case->{to}";
	is_exit($case->{result}, 0, $case->{name});
	ok(-e $file && slurp($file) eq $content, "$case->{name}: the right bytes");
	return;
}

# No file, whatever its name.
sub left_nothing
{
	my ($case) = @_;
	my @left = grep { -f $_ } glob("$case->{cwd}/pg_wal/* $case->{cwd}/pg_wal/.[!.]*");
	is("@left", '', "$case->{name}: no file");
	return;
}

my %get = (method => 'GET', key => $wal);
my @break = qw(close reset lose cut cut_reset shorten change);
my @answers = ([ 500, 'InternalError' ], [ 503, 'SlowDown' ], [ 200, 'InternalError' ],
	[ 404, 'NoSuchKey' ]);
for my $where ([ GET => \%get ], [ listing => { query => $list } ])
{
	my ($what, $match) = @$where;
	my @rules = (
		(map { [ $_ => { %$match, %once, do => $_ } ] } @break),
		(map { [ "@$_" => { %$match, %once, says(@$_) } ] } @answers),
		(map { [ "HTML $_" => { %$match, %once, html($_) } ] } 200, 404, 502),
		[ empty => { %$match, %once, do => 'answer', status => 200 } ],
		[ slow => { %$match, do => 'slow', rate => 200_000 } ]);
	for my $mode (qw(recovery standby))
	{
		is_served($_)
		  for together(map { fetching($mode, $last, "$what: $$_[0] once", [ $$_[1] ]) } @rules);
	}
	next if $what eq 'GET';
	for my $case (together(
		map { fetching('recovery', $absent, "absent, $$_[0] once", [ $$_[1] ]) } @rules))
	{
		is_exit($case->{result}, 1, $case->{name});
		left_nothing($case);
	}
}

# ---- fetch: faults that last

@answers = ([ 403, 'AccessDenied' ], [ 404, 'NoSuchBucket' ], [ 404, 'NoSuchKey' ],
	[ 503, 'SlowDown' ], [ 200, 'InternalError' ]);
my @nothing = ([ '<Contents>.*</Contents>', '' ], [ '<KeyCount>\d+', '<KeyCount>0' ]);
my @lies = map { [ $$_[0] => { do => 'edit', edits => [ @$_[ 1 .. $#$_ ] ] } ] } (
	[ 'of another prefix', [ 'wal%2F', 'law%2F' ] ],
	[ 'of another prefix, empty', @nothing, [ '<Prefix>[^<]*', '<Prefix>other/' ] ],
	[ 'with less than it counts', $nothing[0] ],
	[ 'without its end', [ '<IsTruncated>false</IsTruncated>', '' ] ],
	[ 'that goes on nowhere', [ '<IsTruncated>false', '<IsTruncated>true' ] ]);
for my $where ([ GET => \%get, $last ],
	[ listing => { query => $list }, $last, $absent, '00000002.history' ])
{
	my ($what, $match, @names) = @$where;
	my @rules = (
		(map { [ $_ => { %$match, do => $_, wait => 60 } ] }
			  qw(close stall stall_body cut shorten change)),
		(map { [ "@$_" => { %$match, says(@$_) } ] } @answers),
		(map { [ "HTML $_" => { %$match, html($_) } ] } 200, 404),
		[ empty => { %$match, do => 'answer', status => 200 } ]);
	for my $name (@names)
	{
		for my $case (together(
			map { fetching('recovery', $name, "$name, $what: $$_[0] lasts", [ $$_[1] ]) } @rules))
		{
			is_exit($case->{result}, 'stop', $case->{name});
			like($case->{result}[2], qr/^pitr: error: /m, "$case->{name}: says why");
			left_nothing($case);
			cmp_ok($case->{took}, '<', 3 + 9, "$case->{name}: ends in time");
		}
	}
}
for my $first ({}, { nth => 1 })
{
	my $when = $first->{nth} ? 'first listing' : 'listing';
	my %that = (query => $list, %$first);
	for my $case (together(
		map { fetching('recovery', $last, "$when $$_[0]", [ { %that, %{ $$_[1] } } ]) } @lies))
	{
		next if $case->{result}[0] == 0 && $first->{nth};    # asked again
		is_exit($case->{result}, 'stop', $case->{name});
		left_nothing($case);
	}
}
# A standby must live, but must not choose its timeline by a doubt.
my @doubts = ([ 'close' => { do => 'close' } ], [ '403' => { says(403, 'AccessDenied') } ],
	[ 'HTML' => { html(200) } ]);
my @standby;
push @standby, fetching('standby', $last, "$$_[0] lasts", [ $$_[1] ], expected => 1),
  fetching('standby', '00000002.history', "$$_[0] lasts, history", [ $$_[1] ], expected => 'stop')
  for @doubts;
push @standby,
  fetching('standby', $last, 'wrong bytes last', [ { %get, do => 'change' } ], expected => 1);
for my $case (together(@standby))
{
	is_exit($case->{result}, $case->{expected}, $case->{name});
	like($case->{result}[2], qr/^pitr: warning: .*goes on$/m, "$case->{name}: with a warning")
	  if $case->{expected} eq '1';
	left_nothing($case);
}

# ---- signals while the server stalls

for my $case (
	archiving('SIGTERM in a put', [ { %put, do => 'stall', wait => 60 } ]),
	archiving('SIGTERM in a listing', [ { query => $list, do => 'stall_head', wait => 60 } ]),
	archiving('SIGTERM between attempts',
		[ { query => $list, nth => 1, says(503, 'SlowDown', 'Retry-After' => 5) } ]),
	fetching('recovery', $last, 'SIGTERM in a body', [ { %get, do => 'stall_body', wait => 60 } ]),
	fetching('standby', $last, 'SIGTERM before an answer', [ { do => 'stall_head', wait => 60 } ]),
	fetching('other', $last, 'SIGTERM in a slow body', [ { %get, do => 'slow', rate => 3000 } ]),
	{ name => 'backup: SIGTERM in a put', args => ['backup'], t => $t,
		rules => [ { key => 'base-0', do => 'stall', wait => 60 } ] })
{
	begin($case, $proxy);
	ok((wait_until { $proxy->count(did => qr/./) } 20), "$case->{name}: in trouble");
	sleep(0.2);
	my $took = seconds { kill('TERM', $case->{pid}); finish($case) };
	is_exit($case->{result}, 143, $case->{name});
	cmp_ok($took, '<', 2, "$case->{name}: at once");
	left_nothing($case) if $case->{to};
}

# ---- a wrong clock

SKIP:
{
	my @hour = ('faketime', '-f', '+1h');
	my ($rc) = eval { run_cmd(@hour, $t->{bin}, '--version') };
	if ($rc // 1)
	{
		skip_loudly('a wrong clock: faketime is not there, or not for this build');
		skip('no faketime', 1);
	}
	for my $case (together(archiving('an hour ahead', [], with => \@hour),
		fetching('recovery', $last, 'an hour ahead', [], with => \@hour)))
	{
		is_exit($case->{result}, 0, $case->{name});
		like(join("\n", warned($case)), qr/clock is 3\d\d\d s off/, "$case->{name}: said");
		is(scalar(asked($case, status => qr/403/)), 1, "$case->{name}: corrected once");
	}
}

# ---- the two that ran meanwhile

for my $case (map { finish($_) } @slow)
{
	is_exit($case->{result}, 1, $case->{name});
	my $took = (stat("$case->{output}.err"))[9] - $case->{begun};    # its last word
	cmp_ok($took, '>', 28, "$case->{name}: tried for half a minute");
	cmp_ok($took, '<', 45, "$case->{name}: and not for much longer");
	left_nothing($case);
}
done_testing();
