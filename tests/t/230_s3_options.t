# The options of an S3 repository, each seen on what is stored or sent; ways to the server and to
# the keys; odd prefixes; several repositories; writers at the same moment.
use strict;
use warnings;
use utf8;
use Encode qw(encode_utf8);
use FaultProxy;
use JSON::PP ();
use POSIX ();
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

need_s3();

my $t = PitrTest->new('main', s3 => 1);
my $store = $t->store;
my @bucket = (Bucket => $store->name);
my $aside = PostgreSQL::Test::Utils::tempdir('aside');
my $made = 0;

$t->sql('CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 5000) g');
my $segment = $t->archive;
my $raw = $t->unlz4(($t->stored($segment))[0]);
my $system = (split m{/}, $t->prefix)[-1];
# by default the tests' configuration names a file with keys, which goes before everything else
my %no_keys = (AWS_EC2_METADATA_DISABLED => 'true', HOME => $t->{base},
	XDG_CACHE_HOME => "$t->{base}/cache");

# A segment of our own, like no other.
sub make_segment
{
	my $number = 0x40 + $made++;
	my $name = sprintf('00000001%08X%08X', $number >> 8, $number & 0xFF);
	my $content = $raw;
	substr($content, 8, 8) = pack('Q<', $number << 24);    # xlp_pageaddr
	return ($name, spit("$aside/$name", $content));
}

# A configuration whose repository has other options; undef: not this one. "prefix" is that of the
# bucket, by default a new one.
sub conf_with
{
	my (%option) = @_;
	my $text = slurp($t->config_file);
	my $prefix = delete $option{prefix} || 'p' . ++$made;
	$option{url} ||= 's3://' . $store->name . "/$prefix";
	for my $name (keys %option)
	{
		$text =~ s/^\Q$name\E = .*\n//m;
		$text =~ s/^(\[repo:main\]\n)/$1$name = $option{$name}\n/m if defined $option{$name};
	}
	return (spit("$t->{base}/conf" . ++$made, $text), $prefix);
}

sub archive_with
{
	my ($conf, $file, %env) = @_;
	return $t->pitr({ config => $conf, cwd => $t->data_dir, env => { %no_keys, %env } }, 'archive',
		$file);
}

sub fetch_with
{
	my ($conf, $name, %env) = @_;
	unlink "$t->{base}/fetched";
	return $t->pitr({ config => $conf, cwd => $t->data_dir, env => { %no_keys, %env } }, 'fetch',
		$name,
		"$t->{base}/fetched");
}

# Archives a segment with these options and fetches it again; returns what the server says of it.
sub stored_with
{
	my ($what, %option) = @_;
	my ($conf, $prefix) = conf_with(%option);
	my ($name, $file) = make_segment();
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exit(archive_with($conf, $file), 0, $what) or return {};
	is_exit(fetch_with($conf, $name), 0, "$what: fetched again");
	ok(slurp("$t->{base}/fetched") eq slurp($file), "$what: the same bytes");
	my ($key) = map { $_->[0] } grep { $_->[0] =~ /\Q$name\E/ }
	  @{ $store->s3('keys', @bucket, Prefix => "$prefix/") };
	return { %{ $store->s3('head_object', @bucket, Key => $key) }, key => $key };
}

sub refused_with
{
	my ($rc, $pattern, $what, $env, %option) = @_;
	my ($conf) = conf_with(%option);
	my ($name, $file) = make_segment();
	my $r = archive_with($conf, $file, %$env);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exit($r, $rc, $what);
	like_error($r, $pattern, $what);
	my $f = fetch_with($conf, $segment, %$env);
	is_exit($f, 200 + $rc, "$what: fetch");
	return $r;
}

# ---- what goes with each object

is(stored_with('no options')->{StorageClass} || 'STANDARD', 'STANDARD',
	'the bucket decides on the class');
is(stored_with('storage-class', 'storage-class' => 'STANDARD_IA')->{StorageClass}, 'STANDARD_IA',
	'storage-class is seen on the object');
refused_with(2, qr/storage-class/, 'a class that can not be read', {},
	'storage-class' => 'GLACIER');
{
	my $o = stored_with('sse = aws:kms', sse => 'aws:kms', 'kms-key' => $ENV{PITR_S3_KMS_KEY});
	is($o->{ServerSideEncryption}, 'aws:kms', 'sse is seen on the object');
	like($o->{SSEKMSKeyId}, qr/$ENV{PITR_S3_KMS_KEY}/, 'and kms-key');
}
refused_with(2, qr/kms-key without sse/, 'kms-key without sse', {}, 'kms-key' => 'x');
{
	my $o = stored_with('tags', tags => 'team=db, cost centre=a+b');
	my $tags = $store->s3('get_object_tagging', @bucket, Key => $o->{key})->{TagSet};
	is_deeply({ map { ($_->{Key} => $_->{Value}) } @$tags }, { team => 'db',
		'cost centre' => 'a+b' },
		'tags are seen on the object');
}
refused_with(2, qr/no tags/, 'tags without a value', {}, tags => 'team');
like(stored_with('our own digest')->{Metadata}{sha256}, qr/^[0-9a-f]{64}$/,
	'the digest goes with the object');
is_exit(archive_with((conf_with('requester-pays' => 'yes'))[0], (make_segment())[1]), 0,
	'requester-pays');

# a backup's objects get them as well
{
	my ($conf, $prefix) = conf_with('storage-class' => 'STANDARD_IA', tags => 'a=b',
		'part-size' => '5MiB',
		'max-parts' => 4);
	my $command = "$t->{bin} --config $conf archive %p";
	$t->sql("ALTER SYSTEM SET archive_command = '$command'");
	$t->sql('SELECT pg_reload_conf()');
	is_exit($t->pitr({ config => $conf }, 'backup'), 0, 'a backup with options');
	my @other = grep { $_->[4] ne 'STANDARD_IA' && $_->[0] !~ /pitr-probe/ }
	  @{ $store->s3('keys', @bucket, Prefix => "$prefix/") };
	is_deeply(\@other, [], 'all of its objects are of that class');
	$t->sql('ALTER SYSTEM RESET archive_command');
	$t->sql('SELECT pg_reload_conf()');
}

# ---- parts

{
	my $size = 128 << 20;
	my $head = substr($raw, 0, 40);
	substr($head, 8, 8) = pack('Q<', 3 * $size);     # xlp_pageaddr
	substr($head, 32, 4) = pack('V', $size);         # xlp_seg_size
	open(my $random, '<:raw', '/dev/urandom') or die $!;
	read($random, my $rest, $size - 40);
	my $file = spit("$aside/000000010000000000000003", $head . $rest);
	my ($conf, $prefix) = conf_with('part-size' => '5MiB', 'max-parts' => 4);
	is_exit(archive_with($conf, $file), 0, 'a segment of 128 MiB in at most 4 parts');
	my ($key) = grep { /000000010000000000000003-/ } map { $_->[0] }
	  @{ $store->s3('keys', @bucket, Prefix => "$prefix/") };
	like($store->s3('head_object', @bucket, Key => $key)->{ETag}, qr/-[34]"?$/, 'max-parts holds');
	my $content = $store->s3('head_object', @bucket, Key => $key);
	cmp_ok($content->{ContentLength}, '>', $size, 'it is whole');

	# something else under this key is never overwritten
	($conf, $prefix) = conf_with('part-size' => '5MiB');
	$key =~ s/^[^\/]+/$prefix/;
	$store->s3('put_object', @bucket, Key => $key, Body => 'something else');
	my $r = archive_with($conf, $file);
	is_exit($r, 6, 'something else under the key of an upload in parts');
	like($r->[2], qr/^hint: .*damaged/m, 'with a hint');
	is($store->s3('head_object', @bucket, Key => $key)->{ContentLength}, 14, 'is not overwritten');
	unlink $file;
}

# the same for what goes up in one put
{
	my ($conf, $prefix) = conf_with();
	my ($name, $file) = make_segment();
	is_exit(archive_with($conf, $file), 0, 'a segment');
	my ($key) = grep { /\Q$name\E/ } map { $_->[0] } @{ $store->s3('keys', @bucket,
		Prefix => "$prefix/") };
	$store->s3('put_object', @bucket, Key => $key, Body => 'something else');
	is_exit(archive_with($conf, $file), 6, 'something else under the key of a segment');
	is($store->s3('head_object', @bucket, Key => $key)->{ContentLength}, 14, 'is not overwritten');
}

# ---- signature and checksum: a byte is changed on the way

my $proxy = FaultProxy->new;
my $through = "https://127.0.0.1:$proxy->{port}";

# Returns whether the server noticed; what is stored in the end must be right if it did.
sub noticed
{
	my ($what, %option) = @_;
	my ($conf, $prefix) = conf_with(endpoint => $through, %option);
	my ($name, $file) = make_segment();
	archive_with($conf, (make_segment())[1]);    # what the server is asked before the first put
	$proxy->rules({ method => '^PUT$', key => "$name-", do => 'change_request', times => 1 });
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is_exit(archive_with($conf, $file), 0, "$what: archive");
	my $puts = $proxy->count(method => qr/^PUT$/, key => qr/\Q$name\E-/);
	$proxy->rules;
	return 0 if $puts == 1;
	is_exit(fetch_with($conf, $name), 0, "$what: it was sent again, and is right");
	return 1;
}

ok(noticed('by default'), 'a changed body is refused');
ok(noticed('the signature alone', 'upload-checksum' => 'none'), 'the signature covers the body');
ok(noticed('Content-MD5 alone', 'sign-payload' => 'no', 'upload-checksum' => 'md5'),
	'so does Content-MD5');
ok(!noticed('neither', 'sign-payload' => 'no', 'upload-checksum' => 'none'),
	'with neither the server can not tell');
if ($ENV{PITR_S3_CEPH} >= 20)
{
	ok(noticed('checksum alone', 'sign-payload' => 'no'), 'x-amz-checksum-sha256 covers the body');
	my $o = stored_with('a checksum');
	my $head = $store->s3('head_object', @bucket, Key => $o->{key}, ChecksumMode => 'ENABLED');
	ok($head->{ChecksumSHA256}, 'and is kept with the object');
}
else
{
	skip_loudly("x-amz-checksum-sha256: Ceph $ENV{PITR_S3_CEPH} does not look at it (tests/run --s3 20)");
}
refused_with(2, qr/needs TLS/, 'sign-payload = no without TLS', {}, 'sign-payload' => 'no',
	endpoint => $ENV{PITR_S3_ENDPOINT_HTTP});
stored_with('plain HTTP', endpoint => $ENV{PITR_S3_ENDPOINT_HTTP});

# ---- ways to the server

stored_with('path addressing', addressing => 'path');
{
	my ($conf, $prefix) = conf_with(addressing => 'virtual',
		endpoint => $ENV{PITR_S3_ENDPOINT_VHOST});
	my ($name, $file) = make_segment();
	my $r = archive_with($conf, $file);
	is_exit($r, 0, 'virtual addressing over TLS');
	is_exit(fetch_with($conf, $name), 0, 'and back');
	my @keys = map { $_->[0] } @{ $store->s3('keys', @bucket, Prefix => "$prefix/") };
	is(scalar(grep { m{^\Q$prefix\E/v1/main/\Q$system\E/wal/.*\Q$name\E} } @keys), 1,
		'in the same bucket');
	refused_with(3, qr/error:.*(resolve|certificate|SSL|connect)/i,
		'virtual addressing without such names', {},
		addressing => 'virtual', 'io-timeout' => '1s');
}

# a bucket in another region than the configured one
for my $answer (
	{ status => 301, headers => { 'x-amz-bucket-region' => 'eu-central-1' },
		body => '<Error><Code>PermanentRedirect</Code></Error>' },
	{ status => 400, body => '<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region is wrong'
		. '</Message><Region>eu-central-1</Region></Error>' },
	{ status => 307, headers => { Location => "$through/elsewhere" },
		body => '<Error><Code>TemporaryRedirect</Code></Error>' })
{
	my ($conf) = conf_with(endpoint => $through);
	my ($name, $file) = make_segment();
	$proxy->rules({ %$answer, do => 'answer', times => 1 });
	is_exit(archive_with($conf, $file), 0, "an answer $answer->{status} that names another place");
	$proxy->rules;
	is_exit(fetch_with($conf, $name), 0, 'and it is stored');
}
{
	my ($conf) = conf_with(endpoint => $through);
	$proxy->rules({ status => 301, body => '<Error><Code>PermanentRedirect</Code><Endpoint>other.example'
		. '</Endpoint></Error>', do => 'answer' });
	my $r = archive_with($conf, (make_segment())[1]);
	is_exit($r, 3, 'one that names no region');
	like($r->[2], qr/^hint: .*other\.example/m, 'is told with its hint');
	cmp_ok($proxy->count, '<', 5, 'and not asked for ever');
	$proxy->rules;
}

refused_with(3, qr/certificate|CA/i, "a certificate of somebody else's", {},
	'ca-file' => '/etc/ssl/certs/ca-certificates.crt')
  if -e '/etc/ssl/certs/ca-certificates.crt';
refused_with(3, qr/certificate|CA/i, "the system's certificates", {}, 'ca-file' => undef);
{
	my ($conf) = conf_with('ca-file' => undef);
	is_exit(archive_with($conf, (make_segment())[1], AWS_CA_BUNDLE => $ENV{PITR_S3_CA}), 0,
		'AWS_CA_BUNDLE');
	isnt(archive_with((conf_with('ca-file' => "$aside/none.pem"))[0], (make_segment())[1])->[0], 0,
		'a ca-file that is not there');
}
{
	my ($conf) = conf_with(endpoint => undef, region => undef);
	is_exit(archive_with($conf, (make_segment())[1], AWS_ENDPOINT_URL => $ENV{PITR_S3_ENDPOINT}), 0,
		'AWS_ENDPOINT_URL');
	is_exit(archive_with($conf, (make_segment())[1], AWS_ENDPOINT_URL => 'https://127.0.0.1:1',
		AWS_ENDPOINT_URL_S3 => $ENV{PITR_S3_ENDPOINT}, AWS_REGION => 'eu-west-3'), 0,
			'AWS_ENDPOINT_URL_S3');
}
{
	my $r = refused_with(3, qr/127\.0\.0\.1(:| port )1\b|proxy/i, 'a proxy that is not there',
		{ https_proxy => 'http://127.0.0.1:1' }, 'io-timeout' => '1s');
	like($r->[2], qr/proxy/i, 'the message speaks of the proxy');
	my ($conf) = conf_with();
	is_exit(archive_with($conf, (make_segment())[1], https_proxy => 'http://127.0.0.1:1',
		no_proxy => '127.0.0.1'),
		0, 'no_proxy');
}

# ---- keys, and none

my $secret = $ENV{PITR_S3_SECRET};
my %keys = (AWS_ACCESS_KEY_ID => $ENV{PITR_S3_KEY}, AWS_SECRET_ACCESS_KEY => $secret);
my @no_file = ('credentials-file' => undef);
my $r = refused_with(2, qr/no AWS keys are configured/, 'no keys at all', {}, @no_file);
like($r->[2], qr/^hint: .*credentials/m, 'with a hint');
$r = refused_with(3, qr/SignatureDoesNotMatch/, 'a wrong secret', { %keys,
	AWS_SECRET_ACCESS_KEY => 'wrong' },
	@no_file);
like($r->[2], qr/^hint: .*secret/m, 'with a hint');
$r = refused_with(3, qr/InvalidAccessKeyId/, 'an unknown key', { %keys,
	AWS_ACCESS_KEY_ID => 'AKNOBODY' }, @no_file);
refused_with(2, qr/secret key is missing/, 'half of the keys', { AWS_ACCESS_KEY_ID => 'AK' },
	@no_file);
$r = refused_with(3, qr/NoSuchBucket/, 'a bucket that is not there', {},
	url => 's3://' . $store->name . '-none/x');
like($r->[2], qr/^hint: .*bucket's name/m, 'with a hint');
refused_with(2, qr/no bucket's name/, 'a url without a bucket', {}, url => 's3:///x');

sub works
{
	my ($what, $env, %option) = @_;
	my ($conf) = conf_with(@no_file, %option);
	my ($name, $file) = make_segment();
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $r = archive_with($conf, $file, %$env);
	is_exit($r, 0, $what);
	is_exit(fetch_with($conf, $name, %$env), 0, "$what: fetch");
	unlike(archive_with($conf, $file, %$env, PITR_LOG_LEVEL => 'debug')->[2], qr/\Q$secret\E/,
		"$what: the secret is in no line");
	return $r;
}

sub ini
{
	my ($name, $text) = @_;
	mkdir "$t->{base}/.aws";
	my $file = spit("$t->{base}/.aws/$name", $text);
	chmod 0600, $file;
	return $file;
}

my $pair = "aws_access_key_id = $ENV{PITR_S3_KEY}\naws_secret_access_key = $secret\n";
works('keys from the environment', \%keys);
ini('credentials', "[default]\n$pair\n[other]\naws_access_key_id = AKOTHER\naws_secret_access_key = wrong\n");
works('keys from ~/.aws/credentials', {});
refused_with(3, qr/InvalidAccessKeyId/, 'profile', {}, @no_file, profile => 'other');
refused_with(3, qr/InvalidAccessKeyId/, 'AWS_PROFILE', { AWS_PROFILE => 'other' }, @no_file);
works('an option goes before AWS_PROFILE', { AWS_PROFILE => 'other' }, profile => 'default');
works('the environment before ~/.aws', \%keys);
refused_with(2, qr/no profile none/, 'a profile that is not there', {}, @no_file,
	profile => 'none');
my $process = spit("$aside/keys", "#!/bin/sh\nprintf '{\"Version\": 1, \"AccessKeyId\": \"%s\", "
	. "\"SecretAccessKey\": \"%s\"}' $ENV{PITR_S3_KEY} $secret\n");
chmod 0700, $process;
ini('config', "[profile by-process]\ncredential_process = $process\nregion = eu-west-3\n");
works('credential_process', {}, profile => 'by-process');
works('credential_process by AWS_PROFILE', { AWS_PROFILE => 'by-process' }, region => undef);
spit($process, "#!/bin/sh\necho '$secret' >&2\nexit 3\n");
chmod 0700, $process;
$r = refused_with(3, qr/credential_process of profile by-process/,
	'a credential_process that fails', {}, @no_file,
	profile => 'by-process', 'io-timeout' => '1s');
my $open = spit("$aside/open", "[default]\n$pair");
chmod 0644, $open;
$r = refused_with(2, qr/can be read .* by others/, 'a credentials-file that others can read', {},
	'credentials-file' => $open);
like($r->[2], qr/^hint: chmod 600/m, 'with a hint');
refused_with(2, qr/credentials-file/, 'a credentials-file that is not there', {},
	'credentials-file' => "$aside/none");
unlink glob("$t->{base}/.aws/*");
# this server looks at no token, but at the signature that covers it
works('a session token', { %keys, AWS_SESSION_TOKEN => 'some/token+of=AWS==' });
unlike($t->pitr('config')->[1], qr/\Q$secret\E/, 'pitr config shows no secret');

# ---- prefixes that must be encoded

{
	my $name;
	for my $prefix ('', 'with space', 'plus+percent%41~tilde', encode_utf8('Größe/日本'),
		q{a'b&c=d(e)!*@:,}, 'deep/er/still')
	{
		my ($conf) = conf_with(url => 's3://' . $store->name . "/$prefix");
		($name, my $file) = make_segment();
		is_exit(archive_with($conf, $file), 0, "prefix \"$prefix\"");
		is_exit(fetch_with($conf, $name), 0, 'and back');
		my ($key) = grep { /\Q$name\E/ } map { encode_utf8($_->[0]) } @{ $store->s3('keys',
			@bucket) };
		my $wanted = ($prefix eq '' ? '' : "$prefix/") . "v1/main/$system/wal/";
		is(substr($key, 0, length($wanted)), $wanted, 'its keys begin with exactly that');
		like($t->pitr({ config => $conf }, 'info')->[1], qr/\Q$name\E/, 'and are listed');
	}
	refused_with(2, qr/odd prefix/, "prefix \"$_\"", {}, url => 's3://' . $store->name . "/$_")
	  for 'a//b', 'a?b';
	# the whole way, with the characters that matter most
	my ($conf) = conf_with(url => 's3://' . $store->name . '/' . encode_utf8("it's 100% + ü"));
	my $command = "$t->{bin} --config $conf archive %p";
	$t->sql("ALTER SYSTEM SET archive_command = '$command'");
	$t->sql('SELECT pg_reload_conf()');
	is_exit($t->pitr({ config => $conf }, 'backup'), 0, 'a backup under an odd prefix');
	$t->sql('INSERT INTO t SELECT g FROM generate_series(1, 100) g');
	my $rows = $t->fingerprint('t');
	$t->archive;
	my $copy = $t->target('odd');
	is_exit($t->pitr({ config => $conf }, 'restore', '--data-directory', $copy->data_dir,
		'--target-action', 'promote'),
		0, 'is restored');
	$t->settle($copy);
	$copy->start;
	ok($copy->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'and opens');
	is($t->fingerprint('t', $copy), $rows, 'with its rows');
	$copy->stop;
	$t->sql('ALTER SYSTEM RESET archive_command');
	$t->sql('SELECT pg_reload_conf()');
}

# ---- a directory and a bucket

{
	my $text = slurp($t->config_file);
	mkdir "$t->{base}/second";
	my $two = "[repo:second]\nurl = file://$t->{base}/second\n";
	my $conf = spit("$t->{base}/two.conf", $text =~ s/^(\[cluster:)/$two$1/mr);
	my ($name, $file) = make_segment();
	is_exit(archive_with($conf, $file), 0, 'archive into two repositories');
	my ($copy) = glob("$t->{base}/second/v1/main/*/wal/*/$name-*");
	ok($copy && $t->stored($name), 'stores into both');
	ok($t->stored($name) && slurp($copy) eq $store->get(($t->stored($name))[0]), 'the same bytes');

	my $broken = $text =~ s/^io-timeout = .*/io-timeout = 1s/mr;
	$broken =~ s/^endpoint = .*/endpoint = https:\/\/127.0.0.1:1/m;
	$conf = spit("$t->{base}/broken.conf", $broken =~ s/^(\[cluster:)/$two$1/mr);
	($name, $file) = make_segment();
	my $r = archive_with($conf, $file);
	is_exit($r, 3, 'one of them is not there');
	like_error($r, qr/s3:/, 'one of them is not there');
	($copy) = glob("$t->{base}/second/v1/main/*/wal/*/$name-*");
	ok($copy, 'the other one has it all the same');
	$r = fetch_with($conf, $name);
	is_exit($r, 0, 'fetch turns to the other one');
	like($r->[2], qr/asking the next/, 'and says so');
	$broken =~ s/^(\[repo:main\]\n)/$1required = no\n/m;
	$conf = spit("$t->{base}/wanted.conf", $broken =~ s/^(\[cluster:)/$two$1/mr);
	($name, $file) = make_segment();
	$r = archive_with($conf, $file);
	is_exit($r, 0, 'one that is not required is not there');
	like($r->[2], qr/^pitr: warning: .*not archived/m, 'is a warning');
	is_exit(fetch_with($conf, '000000010000000F000000FE'), 203,
		'absence is not proven while one does not answer');
}

# ---- writers at the same moment: If-None-Match decides

# Runs pitr archive on several files at once; returns the exit codes.
sub race
{
	my ($conf, @files) = @_;
	my @pids;
	my $go = "$t->{base}/go" . ++$made;
	for my $file (@files)
	{
		my $pid = fork();
		die "fork: $!" unless defined $pid;
		if ($pid == 0)
		{
			chdir $t->data_dir;
			$ENV{XDG_CACHE_HOME} = "$t->{base}/cache";
			open(STDERR, '>', '/dev/null');
			usleep(200) until -e $go;
			exec($t->{bin}, '--config', $conf, 'archive', $file) or POSIX::_exit(99);
		}
		push @pids, $pid;
	}
	usleep(20_000);
	spit($go, '');
	my @codes;
	for my $pid (@pids)
	{
		waitpid($pid, 0);
		push @codes, $? >> 8;
	}
	return @codes;
}

{
	my ($conf, $prefix) = conf_with();
	is_exit(archive_with($conf, (make_segment())[1]), 0, 'a first segment');
	my $good = 0;
	for my $round (1 .. rounds(6, 40))
	{
		# one key for all contents of a timeline's history file
		my @files;
		for my $writer (1, 2)
		{
			mkdir "$aside/$writer";
			push @files, spit(sprintf('%s/%d/%08X.history', $aside, $writer, 0x100 + $round),
				"1\t0/${writer}000000\tno recovery target specified\n");
		}
		my @codes = race($conf, @files);
		my $stored = $store->s3('get_object', @bucket,
			Key => sprintf('%s/v1/main/%s/wal/%08X.history', $prefix,
			$system, 0x100 + $round))->{Body};
		my ($winner) = grep { $codes[$_] == 0 } 0, 1;
		$good++ if "@{[sort @codes]}" eq '0 3' && $stored eq slurp($files[$winner]);
		diag("exit codes @codes") unless "@{[sort @codes]}" eq '0 3';
	}
	is($good, rounds(6, 40), 'two history files of one timeline at once: one wins, the other is told');

	($good, my $contents) = (0, 0);
	for my $round (1 .. rounds(6, 40))
	{
		my ($name, $file) = make_segment();
		my $other = slurp($file);
		substr($other, 9_000_000, 4) = 'evil';
		mkdir "$aside/other";
		my @codes = race($conf, $file, spit("$aside/other/$name", $other));
		my @keys = grep { $_->[0] =~ /\Q$name\E/ } @{ $store->s3('keys', @bucket, Prefix => "$prefix/") };
		$contents++ if @keys > 1;
		$good++ if grep { $_ == 3 } @codes;
		diag("exit codes @codes") unless grep { $_ == 3 } @codes;
	}
	is($good, rounds(6, 40), 'two contents of a segment at once: at least one is refused');
	note("$contents times both were stored before they saw each other");

	$good = 0;
	for my $round (1 .. rounds(6, 40))
	{
		my ($name, $file) = make_segment();
		$good++ if join(' ', race($conf, $file, $file)) eq '0 0';
	}
	is($good, rounds(6, 40), 'one content of a segment at once: both succeed');
}

# ---- conditions in a versioned bucket

{
	$store->s3('put_bucket_versioning', @bucket,
		VersioningConfiguration => { Status => 'Enabled' });
	my ($conf) = conf_with();
	my $r = $t->pitr({ config => $conf, env => \%no_keys }, 'check');
	is_exit($r, 0, 'check of a versioned bucket');
	if ($ENV{PITR_S3_CEPH} >= 20)
	{
		like($r->[1], qr/ok +puts: If-None-Match holds/, 'puts are conditional');
		like($r->[1], qr/ok +multipart uploads: If-None-Match holds/, 'uploads in parts, too');
	}
	else
	{
		like($r->[1], qr/note +puts: the server ignores If-None-Match/,
			'a server that ignores conditions is found out');
		like($r->[1], qr/hint: two writers/, 'with what follows from it');
		skip_loudly("If-None-Match in versioned buckets: Ceph $ENV{PITR_S3_CEPH} ignores it (tests/run --s3 20)");
	}
	# what is there is not written again, whether the server honours conditions or pitr looks
	my ($name, $file) = make_segment();
	is_exit(archive_with($conf, $file), 0, 'a segment');
	is_exit(archive_with($conf, $file), 0, 'the same again');
	my ($key) = grep { /\Q$name\E/ } map { $_->[0] } @{ $store->s3('keys', @bucket) };
	is(scalar(@{ $store->s3('list_object_versions', @bucket, Prefix => $key)->{Versions} }), 1,
		'has one version');
}

done_testing();
