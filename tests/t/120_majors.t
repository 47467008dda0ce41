# Every supported PostgreSQL major: archive, backup, restore to a moment, exactly the rows.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

for my $major (13 .. 18)
{
	my ($path, $why) = major_path($major);
	if ($why)
	{
		skip_loudly($why);
	  SKIP: { skip $why, 1; }
		next;
	}
	my $space = PostgreSQL::Test::Utils::tempdir('space');
	my $t = PitrTest->new("pg$major", major => $major);
	my $node = $t->node;
	like($t->sql('SHOW server_version'), qr/^$major\b/, "$major: the server");
	mkdir "$space/old";
	$t->sql("CREATE TABLESPACE s LOCATION '$space/old'");
	$t->sql("CREATE TABLE t TABLESPACE s AS SELECT g, md5(g::text) AS pad FROM generate_series(1, 20000) g;
		CREATE INDEX ON t (g); CREATE TABLE u (n int)");
	my $label = $t->backup;
	like($t->prefix, qr{/$major-\d+$}, "$major: the prefix names the major");
	$t->sql('INSERT INTO u SELECT g FROM generate_series(1, 3000) g; UPDATE t SET pad = pad || g WHERE g % 7 = 0');
	my %rows = map { ($_ => $t->fingerprint($_)) } qw(t u);
	my $xid = $t->sql('BEGIN; DELETE FROM u; SELECT txid_current(); COMMIT');
	my $moment_after = $t->moment;
	$t->sql('DROP TABLE t');
	$t->archive;

	for my $target ([ '--target-xid', $xid, '--exclusive' ], [ '--target-time', $moment_after ])
	{
		my $map = "$space/" . $target->[0];
		my $copy = $t->restore(undef, @$target, '--target-action', 'promote',
			'--tablespace-map', "$space/old=$map");
		$t->boot($copy, label => $label, verify => ['--ignore=tablespace_map']);
		is($t->fingerprint('t', $copy), $rows{t}, "$major: $target->[0]: the rows of t");
		is($t->fingerprint('u', $copy), $target->[0] eq '--target-xid' ? $rows{u} : '0 -',
			"$major: $target->[0]: the rows of u");
		$t->amcheck($copy);
		$copy->stop;
	}
	my $info = $t->json('info');
	like(JSON::PP->new->encode($info), qr/\Q$label\E/, "$major: info lists the backup");

	# in place, and on along the new timeline
	$node->stop;
	is_exit($t->pitr('restore', '--force', '--target-xid', $xid, '--exclusive',
		'--target-action', 'promote'), 0, "$major: production in place");
	$t->verify_files($t->data_dir, $label);
	$node->start;
	ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), "$major: opens");
	is($t->fingerprint($_), $rows{$_}, "$major: in place: the rows of $_") for qw(t u);
	like($t->archive, qr/^00000002/, "$major: and archives on timeline 2");
	$node->stop;
}

done_testing();
