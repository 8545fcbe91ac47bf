# usherd.conf: what is wrong in it is told with file, line and reason.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;


sub test {
    my ($text) = @_;

    my $file = $t->write_file('test.conf', $text);
    my $said = `$t->{dir}/bin/usherd -t -c $file 2>&1`;

    return ($? >> 8, $said =~ s/\Q$file\E/FILE/r);
}


sub wrong {
    my ($text, $line, $reason) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($code, $said) = test($text);

    ok($code == 1 && $said =~ /^usherd: FILE:$line: .*$reason/, $reason)
        or diag("exit $code: $said");
}


my ($code, $said) = test("; comment\n[usherd]\nduties = flush, keep\n"
    . "batch_bytes = 8m\nmetrics = 127.0.0.1:9100\nlog = stderr\n"
    . "[postgres]\nconninfo = host=/tmp dbname=usher\n"
    . "[redis]\naddress = unix:/run/redis.sock\n"
    . "[health]\nenabled = no\nallow_private = yes\n");
is($code, 0, 'a good one') or diag($said);

wrong("[usherd]\nduty = flush\n", 2, 'unknown key "duty"');
wrong("\n[ushred]\nduties = flush\n", 3, 'unknown section \[ushred\]');
wrong("[usherd]\nduties = flush,sweep\n", 2, 'unknown duty "sweep"');
wrong("[usherd]\nduties =\n", 2, 'no duty');
wrong("[health]\nenabled = 1\n", 2, 'yes or no is needed');
wrong("[usherd]\nbatch_rows = 0\n", 2, 'a number from 1');
wrong("[usherd]\nbatch_rows = -5\n", 2, 'a number from 1');
wrong("[usherd]\nbatch_rows = 99999999999999999999999\n", 2, 'a number');
wrong("[usherd]\nbatch_age_ms = soon\n", 2, 'a number');
wrong("[usherd]\nbatch_bytes = 100t\n", 2, 'a number');
wrong("[usherd]\nmetrics = unix:relative\n", 2, 'unix:/path or host:port');
wrong("[redis]\naddress = localhost\n", 2, 'unix:/path or host:port');
wrong("[redis]\naddress = localhost:70000\n", 2, 'unix:/path or host:port');
wrong("[redis]\naddress = unix:/" . 'x' x 120 . "\n", 2,
      'unix:/path or host:port');
wrong("[usherd]\nduties = flush\nwhat is this\n", 3, 'neither a section');

($code, $said) = test("[redis]\nuser = usherd\n");
ok($code == 1 && $said =~ /user in \[redis\] needs a password_file/,
   'nobody is let in by his name alone') or diag("exit $code: $said");

($code, $said) = (1, `$t->{dir}/bin/usherd -t -c /nowhere/usherd.conf 2>&1`);
like($said, qr{cannot read /nowhere/usherd.conf: No such file}, 'no file');
like(`$t->{dir}/bin/usherd -x 2>&1`, qr/usage: usherd/, 'usage');

my $example = "$t->{top}/conf/usherd.conf";
ok(-f $example, 'the example is there');
is(system("$t->{dir}/bin/usherd -t -c $example 2>/dev/null"), 0,
   'and is good');


# passwords

$t->postgres;
$t->redis;
$t->redis_cli(qw(config set requirepass), "open sesame");
$t->usherd(duties => 'flush',
           conf => { redis => { password_file => "$t->{dir}/secret" } });
$t->wait_for(sub { $t->log_of('usherd') =~ /cannot read password_file/ },
             'a password file that is missing is told');
$t->write_file('secret', "wrong\n");
$t->write_file('secret', "open sesame\n");
$t->wait_for(sub { $t->log_of('usherd') =~ /connected to Redis/ },
             'and read when it is there');
unlike($t->log_of('usherd'), qr/sesame/, 'no password is logged');

done_testing();
