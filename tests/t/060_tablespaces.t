# Tablespaces: backed up with the cluster, restored in place, elsewhere only when told where.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $t = PitrTest->new('main');
my $node = $t->node;
my $space = PostgreSQL::Test::Utils::tempdir('spaces');
# a space in one's name: it goes through tablespace_map's escapes
my @old = ("$space/fast disk", "$space/slow");
mkdir $_ for @old;
$t->sql("CREATE TABLESPACE fast LOCATION '$old[0]'");
$t->sql("CREATE TABLESPACE slow LOCATION '$old[1]'");
$t->sql("CREATE TABLE f TABLESPACE fast AS SELECT g, md5(g::text) FROM generate_series(1, 5000) g;
	CREATE TABLE s TABLESPACE slow AS SELECT g, md5(g::text) FROM generate_series(1, 5000) g;
	CREATE INDEX ON s (g) TABLESPACE fast; CREATE TABLE d AS SELECT 1 AS one;
	CREATE DATABASE other TABLESPACE slow");
my $label = $t->backup;
$t->sql('INSERT INTO f SELECT g FROM generate_series(5001, 6000) g');
my %rows = map { ($_ => $t->fingerprint($_)) } qw(f s d);
my $moment = $t->moment;
$t->sql('DROP TABLE f; DROP TABLE s');
$t->archive;

my @packs = map { m{/base/$label/(\w+)-\d{8}\.tar\.lz4$} ? $1 : () } $t->objects;
my %kinds = map { $_ => 1 } @packs;
my @oids = split /\n/, $t->sql("SELECT oid FROM pg_tablespace WHERE spcname IN ('fast', 'slow')");
is_deeply([ sort keys %kinds ], [ sort 'base', @oids ], 'packs for base and each tablespace');

# ---- elsewhere: refused without a place for each

my $to = "$t->{base}/copy_data";
my @target = ('--target-time', $moment, '--target-action', 'promote');

sub refused
{
	my ($what, @args) = @_;
	my $r = $t->pitr('restore', '--data-directory', $to, @target, @args);
	is_exit($r, 2, $what);
	like_error($r, qr/./, $what);
	ok(!-e $to, "$what: nothing is written");
	return $r;
}

my $r = refused('a copy without a map');
like($r->[2], qr/--tablespace-map/, 'the hint names the option');
my @new = ("$t->{base}/new fast", "$t->{base}/new_slow");
refused('a copy with half a map', '--tablespace-map', "$old[0]=$new[0]");
refused('an unknown old place', map { ('--tablespace-map', $_) }
	"$old[0]=$new[0]", "$old[1]=$new[1]", "$space/none=$t->{base}/x");
refused('a relative new place', map { ('--tablespace-map', $_) } "$old[0]=here", "$old[1]=$new[1]");
refused('no equals sign', '--tablespace-map', $old[0]);
refused('one new place for both', map { ('--tablespace-map', "$_=$new[0]") } @old);
# a place where another cluster of this major has its files
my ($version) = map { (split m{/})[-1] } glob("\Q$old[1]\E/PG_*");
mkdir "$t->{base}/full";
mkdir "$t->{base}/full/$version";
spit("$t->{base}/full/$version/precious", 'mine');
refused('a new place that is taken', map { ('--tablespace-map', $_) }
	"$old[0]=$t->{base}/full", "$old[1]=$new[1]");
is(slurp("$t->{base}/full/$version/precious"), 'mine', 'which is left alone');
ok(!-e $new[1], 'and nothing is restored elsewhere');

# ---- elsewhere, told where

my $copy = $t->restore('copy', @target,
	map { ('--tablespace-map', "$old[$_]=$new[$_]") } 0, 1);
ok(-d "$new[$_]", "$new[$_] is made") for 0, 1;
$t->boot($copy, verify => ['--ignore=tablespace_map']);
is($t->fingerprint($_, $copy), $rows{$_}, "the rows of $_") for qw(f s d);
is_deeply([ sort map { readlink } glob($copy->data_dir . '/pg_tblspc/*') ], [ sort @new ],
	'the links lead to the new places');
is($t->sql("SELECT count(*) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '$space%'",
		$copy), 0, 'and no tablespace to an old one');
is($copy->safe_psql('other', 'SELECT 1'), 1, 'a database in a tablespace works');
$t->amcheck($copy);
my ($damage) = glob("$new[0]/PG_*/*/*");
ok($damage, 'files lie in the new place');
$copy->stop;

# ---- in place

$node->stop;
is_exit($t->pitr('restore', '--force', @target), 0, 'production, with its tablespaces in place');
$t->verify_files($t->data_dir, $label);
$node->start;
ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'opens');
is($t->fingerprint($_), $rows{$_}, "the rows of $_") for qw(f s d);
$t->amcheck($node);

# ---- again, by delta, with one tablespace lost and one file changed

$t->archive;
$node->stop;
system('rm', '-rf', glob("$old[1]/PG_*"));
is_exit($t->pitr('restore', '--delta', '--target-action', 'promote'), 0, 'production, by --delta');
$t->verify_files($t->data_dir, $label);
$node->start;
ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'opens');
is($t->fingerprint($_), $rows{$_}, "the rows of $_") for qw(f s d);
$node->stop;

done_testing();
