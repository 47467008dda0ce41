# Segments of other sizes than 16 MiB, from 1 MiB to, in the long form, 1 GiB.
use strict;
use warnings;
use PitrTest;
use Test::More;

for my $mib (long_form() ? (1, 64, 1024) : 1)
{
	my $conf = $mib > 16 ? sprintf("min_wal_size = %dMB\nmax_wal_size = %dMB\n", 2 * $mib, 4 * $mib)
	  : "min_wal_size = 2MB\nmax_wal_size = 64MB\n";
	my $t = PitrTest->new("m$mib", initdb => ["--wal-segsize=$mib"], conf => $conf);
	$t->sql('CREATE TABLE t (g int, pad text); CREATE INDEX ON t (g)');
	my $label = $t->backup;
	# several segments of 1 MiB each time, some records crossing their ends
	$t->sql("INSERT INTO t SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 10000) g");
	my $rows = $t->fingerprint('t');
	my $moment = $t->moment;
	my $lsn = $t->sql('SELECT pg_current_wal_insert_lsn()');
	$t->sql('TRUNCATE t');
	my $last = $t->archive;
	my @sizes = map { length($t->unlz4($_)) } $t->stored($last);
	is_deeply(\@sizes, [ $mib << 20 ], "$mib MiB: a stored segment has its size");
	cmp_ok(scalar($t->stored_segments), '>', $mib == 1 ? 4 : 0, "$mib MiB: segments are stored");
	for my $target ([ '--target-time', $moment ], [ '--target-lsn', $lsn ])
	{
		my $copy = $t->restore(undef, '--target-action', 'promote', @$target);
		$t->boot($copy, label => $label);
		is($t->fingerprint('t', $copy), $rows, "$mib MiB: $target->[0]: exactly the rows");
		$copy->stop;
	}
	if ($mib == 1)
	{
		my $past = $t->archive_file($t->store->file(($t->stored($last))[0]));
		isnt($past->[0], 0, 'a compressed object is no segment');
		my $end = '0000000100000000000000FF';
		my $dir = $t->{base};
		my $raw = $t->unlz4(($t->stored($last))[0]);
		substr($raw, 8, 8) = pack('Q<', 0xFF << 20);
		spit("$dir/$end", $raw);
		is_exit($t->archive_file("$dir/$end"), 0, 'numbers go up to FF, and beyond:');
		$end = '000000010000000000000FFF';
		substr($raw, 8, 8) = pack('Q<', 0xFFF << 20);
		spit("$dir/$end", $raw);
		is_exit($t->archive_file("$dir/$end"), 0, '4096 of 1 MiB are in one log file');
	}
	$t->node->stop;
}

done_testing();
