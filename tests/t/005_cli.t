# What a person types wrong: exit code 2, one error line, the nearest right name.
use strict;
use warnings;
use PitrTest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_with_s3('no repository is opened');
my $dir = PostgreSQL::Test::Utils::tempdir();
my $pitr = $ENV{PITR_BIN};
my $conf = "$dir/pitr.conf";

sub with_conf
{
	my ($text, @args) = @_;
	spit($conf, $text);
	return [ run_cmd($pitr, '--config', $conf, @args) ];
}

for my $command (qw(archive fetch backup restore info config))
{
	my $result = [ run_cmd($pitr, $command, '--help') ];
	is_exit($result, 0, "$command --help");
	like($result->[1], qr/\Q$command\E/, "$command --help goes to stdout");
	is($result->[2], '', "$command --help says nothing on stderr");
}

my $good = "[repo:main]\nurl = file://$dir/repo\n[cluster:main]\nconninfo = port=1\n";

my $r = [ run_cmd($pitr) ];
is_exit($r, 2, 'no command');
$r = [ run_cmd($pitr, 'bakcup') ];
is_exit($r, 2, 'unknown command');
like($r->[2], qr/backup/, 'the nearest command is named');
$r = with_conf($good, 'backup', '--wokers', '3');
is_exit($r, 2, 'unknown option');
like_error($r, qr/wokers/, 'unknown option');
like($r->[2], qr/workers/, 'the nearest option is named');
$r = with_conf($good, 'backup', '--workers', 'many');
is_exit($r, 2, 'bad value');
like_error($r, qr/workers.*many|many.*workers/, 'bad value');

$r = with_conf("[global]\nworkers = 4\nworkres = 4\n$good", 'config');
is_exit($r, 2, 'unknown name in the file');
like_error($r, qr/\Q$conf\E:3\b/, 'unknown name: file and line');
like($r->[2], qr/\bworkers\b/, 'unknown name: the nearest');
$r = with_conf("[globl]\nworkers = 4\n$good", 'config');
is_exit($r, 2, 'unknown section');
like_error($r, qr/\Q$conf\E:[12]\b/, 'unknown section: file and line');
$r = with_conf("[global]\nworkers = 0\n$good", 'config');
is_exit($r, 2, 'value out of range in the file');
like_error($r, qr/\Q$conf\E:2\b/, 'value out of range: file and line');
$r = with_conf("$good\n[cluster:main]\nurl = file:///x\n", 'config');
is_exit($r, 2, 'option in a section that it does not belong to');
$r = with_conf("[global]\nthis is no ini\n", 'config');
is_exit($r, 2, 'no INI');
$r = with_conf("[repo:main]\nurl = ftp://there/repo\n", 'info');
is_exit($r, 2, 'unknown kind of repository');
$r = [ run_cmd($pitr, '--config', "$dir/none.conf", 'config') ];
is_exit($r, 2, 'a configuration file that is not there');
$r = with_conf("$good\[cluster:other]\nconninfo = port=2\n", 'info');
is_exit($r, 2, 'two clusters and no choice');
$r = with_conf("[global]\nworkers = 3\n$good", 'config');
is_exit($r, 0, 'config');
like($r->[1], qr/workers\b.*\b3\b.*\Q$conf\E:2/, 'config says value and place');
$r = [ run_cmd({ env => { PITR_WORKERS => 5 } }, $pitr, '--config', $conf, 'config') ];
like($r->[1], qr/workers\b.*\b5\b.*PITR_WORKERS/, 'the environment wins over the file');
$r = with_conf($good, 'config', '--json');
is_exit($r, 0, 'config --json');
ok(eval { JSON::PP->new->decode($r->[1]) }, 'config --json is JSON') or diag($@);
$r = [ run_cmd({ env => { PITR_WORKERS => 'x' } }, $pitr, '--config', $conf, 'config') ];
is_exit($r, 2, 'a bad value in the environment');
like_error($r, qr/PITR_WORKERS/, 'a bad value in the environment');

done_testing();
