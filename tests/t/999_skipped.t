# Runs last and alone: shows at the end of the run what the other files could not test here.
use strict;
use warnings;
use Test::More tests => 1;

my $file = $ENV{PITR_TEST_SKIPS};
my @lines;
if ($file && open(my $fh, '<', $file))
{
	my %seen;
	@lines = grep { !$seen{$_}++ } <$fh>;
}
if (@lines)
{
	diag("\nNOT TESTED on this machine:");
	diag("    $_") for @lines;
}
pass(@lines ? scalar(@lines) . ' things were not tested' : 'everything was tested');
