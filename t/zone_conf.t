# usher_zone and usher_redis: what nginx -t says of wrong directives.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;
my $dir = $t->dir;

sub refused {
    my ($lines, $reason, $name) = @_;

    my ($code, $text) = $t->nginx_test("$lines\nserver { listen "
                                       . '127.0.0.1:%%PORT%%; }');

    isnt($code, 0, "$name: refused");
    like($text, $reason, "$name: the reason");
    like($text, qr/nginx\.conf:\d+|usher_zone/, "$name: the place");
}

sub accepted {
    my ($lines, $name) = @_;

    my ($code, $text) = $t->nginx_test("$lines\nserver { listen "
                                       . '127.0.0.1:%%PORT%%; }');

    is($code, 0, "$name: accepted") or diag($text);
}

refused('usher_zone;', qr/invalid number of arguments/, 'no size');
refused('usher_zone 64x;', qr/invalid zone size "64x"/, 'no number');
refused('usher_zone 100k;', qr/"100k" is too small, at least 1m/, 'small');
refused('usher_zone 300g;', qr/"300g" is too large, 256g is/, 'large');
refused('usher_zone 1m; usher_zone 1m;', qr/is duplicate/, 'twice');
refused('usher_zone 1m kees=50%;', qr/invalid parameter "kees=50%"/, 'name');
refused('usher_zone 1m keys=0%;', qr/invalid share "keys=0%"/, 'share of 0');
refused('usher_zone 1m keys=99%;', qr/invalid share "keys=99%"/, 'share of 99');
refused('usher_zone 1m keys=x%;', qr/invalid share "keys=x%"/, 'share of x');
refused('usher_zone 1m keys=%;', qr/invalid share/, 'share of nothing');
refused('usher_zone 1m keys=50% keys=1%;', qr/duplicate share/, 'share twice');
refused('usher_zone 1m keys=60% buckets=40%;', qr/shares add up to 100%/,
        'too much');

accepted('usher_zone 1m;', 'the smallest');
accepted('usher_zone 2m keys=50% buckets=20% negatives=10% records=18% '
         . 'clicks=1% caps=1%;',
         'all shares');
accepted('usher_zone 8m records=85%;', 'one share, which leaves little');
accepted('usher_zone 8m records=95%;', '... and the most of it');
accepted('usher_zone 2m keys=90;', 'a share without a percent sign');

refused('usher_redis;', qr/invalid number of arguments/, 'no address');
refused('usher_redis 127.0.0.1:99999;', qr/invalid port in "127.0.0.1:99999"/,
        'port');
refused('usher_redis unix:;', qr/no path in the unix domain socket/, 'path');
refused('usher_redis no.such.host.invalid:1;', qr/host not found/, 'host');
refused('usher_redis 127.0.0.1:1/x;', qr{in "127.0.0.1:1/x"}, 'URI');
refused('usher_redis 127.0.0.1:1 role=steam;', qr/invalid role "steam"/,
        'role');
refused('usher_redis 127.0.0.1:1; usher_redis 127.0.0.1:2 role=stream;',
        qr/another usher_redis has the role "stream"/, 'role twice');
refused('usher_redis 127.0.0.1:1 user=u;', qr/"user=" needs a "password_file="/,
        'user without a password');
refused('usher_redis 127.0.0.1:1 pass=u;', qr/invalid parameter "pass=u"/,
        'parameter');
refused("usher_redis 127.0.0.1:1 password_file=$dir/none;",
        qr/open\(\) "$dir\/none" failed/, 'no such file');

sub file {
    my ($name, $content) = @_;

    open(my $fh, '>', "$dir/$name") or die;
    print $fh $content;
    close($fh);

    return "password_file=$dir/$name";
}

refused('usher_redis 127.0.0.1:1 ' . file('empty', "\n") . ';',
        qr/must hold a password of 1 to 512 bytes/, 'empty file');
refused('usher_redis 127.0.0.1:1 ' . file('long', 'x' x 513) . ';',
        qr/must hold a password of 1 to 512 bytes/, 'long file');
accepted('usher_redis 127.0.0.1:1 user=u ' . file('good', ('x' x 512) . "\n")
         . ';', 'a password of 512 bytes');
accepted('usher_redis [::1]:1 role=stream; usher_redis unix:/tmp/x.sock '
         . 'role=directory role=counters;', 'servers by role');

my ($code, $text) = $t->nginx_test(
    'server { listen 127.0.0.1:%%PORT%%; location / { usher_status; } }');

isnt($code, 0, 'a status without a zone: refused');
like($text, qr/"usher_status" needs "usher_zone" in .*nginx\.conf:\d+/,
     'a status without a zone: the reason');

$t->expect_alerts(qr/\[emerg\]/);

done_testing();
