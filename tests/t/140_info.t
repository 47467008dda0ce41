# info: backups, WAL with its gaps, and the window that can be restored to - held against restores.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PitrTest->new('main');
my $node = $t->node;
my $canonical = JSON::PP->new->canonical;

sub flat { return $canonical->encode($t->json('info')); }

# ---- nothing yet

my $missing = $t->store->missing;
my $r = $t->pitr({ config => $t->config_with($missing) }, 'info');
is_exit($r, 3, 'info of a repository whose directory or bucket is not there');
my $place = $t->store->is_s3 ? $missing->name : $missing->path;
like_error($r, qr/\Q$place\E/, 'it is named');
ok(!$missing->is_there, 'and not made by looking');
$t->store->make unless $t->store->is_there;
is_exit($t->pitr('info'), 0, 'info of an empty repository');

# ---- one backup, then two

$t->sql('CREATE TABLE t AS SELECT g FROM generate_series(1, 1000) g');
my $before = $t->moment;
my $first = $t->backup;
$t->sql('INSERT INTO t VALUES (0)');
my $inside = $t->moment;
$t->sql('INSERT INTO t VALUES (0)');
my @segments = ($t->archive);
my $second = $t->backup;
for (1 .. 3)
{
	$t->sql('INSERT INTO t VALUES (0)');
	push @segments, $t->archive;
}
$r = $t->ok_pitr('info');
like($r->[1], qr/\Q$first\E.*\Q$second\E/s, 'both backups are listed, in order');
like($r->[1], qr/\b15\b/, 'with the major');
is($r->[2], '', 'nothing on stderr');
my $info = $t->json('info');
my ($system) = $t->prefix =~ m{/15-(\d+)$};
like($canonical->encode($info), qr/$system/, 'JSON has the system identifier');
like(flat(), qr/"label":"\Q$_\E"/, "JSON has $_") for $first, $second;
unlike(flat(), qr/"gaps":\[[^\]]/, 'there are no gaps');
like(flat(), qr/$segments[-1]/, 'the last segment is named');

# ---- the window it states can be restored to

sub find_key
{
	my ($value, $key) = @_;
	if (ref $value eq 'HASH')
	{
		return $value->{$key} if defined $value->{$key};
		for my $k (sort keys %$value)
		{
			my $found = find_key($value->{$k}, $key);
			return $found if defined $found;
		}
	}
	elsif (ref $value eq 'ARRAY')
	{
		for my $v (@$value)
		{
			my $found = find_key($v, $key);
			return $found if defined $found;
		}
	}
	return;
}

my ($earliest, $latest) = map { find_key($info, $_) } qw(earliest latest);
for my $moment ($earliest, $latest)
{
	ok($moment, 'a limit of the window: ' . ($moment || 'none')) or next;
	$r = $t->pitr('restore', '--data-directory', "$t->{base}/x", '--dry-run', '--target-time', $moment);
	is_exit($r, 0, "can be restored to");
}
is($t->sql("SELECT '$before' < timestamptz '$earliest' AND timestamptz '$earliest' <= '$inside'"),
	't', 'the earliest moment is that of the first backup') if $earliest;
is($t->sql("SELECT '$inside' < timestamptz '$latest' AND timestamptz '$latest' < now()"),
	't', 'the latest is behind the rest') if $latest;

# ---- a gap

my ($object) = $t->stored($segments[2]);
my $hidden = $t->store->take($object);
$r = $t->pitr('info');
is_exit($r, 0, 'info with a gap');
like($r->[1], qr/(gap|missing).*$segments[2]|$segments[2].*(gap|missing)/is, 'the gap is shown');
my $gapped = $t->json('info');
like($canonical->encode($gapped), qr/"gaps":\[.*$segments[2]/, 'JSON has the gap');
my $less = find_key($gapped, 'latest');
is($t->sql("SELECT timestamptz '$less' < timestamptz '$latest'"), 't',
	'the window ends before the gap, or tells of it')
  if $less && $latest;
$t->store->put($object, $hidden);

# ---- what is not a backup is not one

$t->store->put($t->prefix . '/base/20200101T000000Z-F/begin.json', "{}\n");
unlike(flat(), qr/"label":"20200101T000000Z-F","(start|stop)/, 'an unfinished backup does not count');

# ---- a second timeline

$node->stop;
is_exit($t->pitr('restore', '--force', '--target-time', $inside, '--target-action', 'promote'),
	0, 'production goes back');
$node->start;
$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
my $on_two = $t->archive;
like(flat(), qr/$on_two/, 'timeline 2 is shown');
unlike(flat(), qr/"gaps":\[[^\]]/, 'and that it begins at the fork is no gap');

# ---- two systems under one name: after initdb or pg_upgrade

my $next = PitrTest->new('next', start => 0);
spit($next->config_file, slurp($next->config_with($t->store)));
$next->node->start;
$next->archive;
my ($other) = $next->sql('SELECT system_identifier FROM pg_control_system()');
$r = $t->ok_pitr('info');
like($r->[1], qr/$system/, 'the old system is still shown');
like($r->[1], qr/$other/, 'beside the new one');

# ---- a newer format is refused

$t->store->put('v2/main/anything', '');
$r = $t->pitr('info');
is_exit($r, 3, 'a repository of a newer format');

$_->stop for $next->node, $node;
done_testing();
