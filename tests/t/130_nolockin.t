# docs/no-lock-in.md is the test: its fenced shell block is run as it stands, without pitr, on a
# cluster with two tablespaces, on a server whose backup protocol is the old one (13 or 14) and on 15
# and later.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $page = slurp(($ENV{PITR_TEST_TOP} || '.') . '/docs/no-lock-in.md');
my @blocks = $page =~ /^```sh\n(.*?)^```$/msg;
is(scalar(@blocks), 1, 'the page has one recipe') or BAIL_OUT('no recipe in docs/no-lock-in.md');
my $script = PostgreSQL::Test::Utils::tempdir() . '/recipe.sh';
spit($script, $blocks[0]);
unlike($blocks[0], qr/\bpitr\b/, 'which does not use pitr');

my $old = 0;
for my $major (13, 14, 15, 17)
{
	my ($path, $why) = major_path($major);
	next if $major == 14 && $old;
	if ($why)
	{
		skip_loudly("the no-lock-in recipe on $why");
	  SKIP: { skip $why, 1; }
		next;
	}
	$old++ if $major < 15;
	one_major($major);
}

sub one_major
{
	my ($major) = @_;
	my $t = PitrTest->new("pg$major", major => $major);
	my $space = PostgreSQL::Test::Utils::tempdir('space');
	mkdir "$space/$_" for qw(a b);
	$t->sql("CREATE TABLESPACE a LOCATION '$space/a'");
	$t->sql("CREATE TABLESPACE b LOCATION '$space/b'");
	$t->sql("CREATE TABLE in_$_ TABLESPACE $_ AS SELECT g, md5(g::text) FROM generate_series(1, 30000) g")
	  for qw(a b);
	$t->sql('CREATE TABLE plain (n int)');
	# several packs for each archive
	my $label = $t->backup('--pack-size', '1MiB');
	$t->sql('INSERT INTO plain SELECT g FROM generate_series(1, 1000) g');
	my %rows = map { ($_ => $t->fingerprint($_)) } qw(in_a in_b plain);
	my $moment = $t->moment;
	$t->sql('DROP TABLE in_a; DELETE FROM plain');
	my %end = map { ($_ => $t->fingerprint($_)) } qw(in_b plain);
	$t->archive;
	my $repository = $t->store->download("$t->{base}/downloaded");
	# with pitr and production gone
	$t->node->stop;
	rename("$space/a", "$space/gone_a");
	rename("$space/b", "$space/gone_b");

	for my $case ([ $moment, \%rows ], [ undef, \%end ])
	{
		my ($time, $rows) = @$case;
		my $what = "$major, " . ($time ? 'to a moment' : 'to the end');
		my $node = $t->target;
		my @r = run_cmd(
			{   env => {
					REPO => "$repository/" . $t->prefix,
					LABEL => $label,
					PGDATA_NEW => $node->data_dir,
					TBS_DIR => $node->basedir . '/spaces',
					TARGET_TIME => $time || '',
					PATH => ($t->{install} ? "$t->{install}/bin:" : '') . $ENV{PATH}
				}
			},
			'sh', $script);
		is_exit(\@r, 0, "$what: the recipe");
		unlike($r[2], qr/not verified/, "$what: the files were verified") if $t->has_contrib;
		$t->settle($node);
		$node->start;
		ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), "$what: opens");
		is($t->fingerprint($_, $node), $rows->{$_}, "$what: the rows of $_") for sort keys %$rows;
		is($t->sql("SELECT count(*) FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '"
			. $node->basedir . "/spaces/%'", $node), 2, "$what: tablespaces in the new places");
		is($t->sql('SHOW archive_mode', $node), 'off', "$what: it does not archive");
		$t->amcheck($node);
		$node->stop;
	}
	return;
}

done_testing();
