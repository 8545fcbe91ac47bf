#!/usr/bin/perl

# However many workers and connections: never over the limit, and all or none.

use lib 't/lib';
use Usher::Test;

use Time::HiRes qw(time);

my $t = Usher::Test->new;

$t->nginx(<<'CONF', workers => 3);
    usher_zone 1m;

    server {
        listen 127.0.0.1:%%PORT%% reuseport;

        location /a {
            usher_limit first rate=2000r/s burst=100 key=all;
            usher_limit second rate=500r/s burst=50 key=all;
        }
    }
CONF

$t->write_file('edge1/html/a', 'content');

my $url = 'http://127.0.0.1:' . $t->port('edge1') . '/a';
my $began = time;
my $out = `wrk -t1 -c40 -d3s $url`;
my $elapsed = time - $began;

my ($all) = $out =~ /(\d+) requests in/;
my ($refused) = $out =~ /Non-2xx or 3xx responses: (\d+)/;
my $admitted = $all - $refused;

diag("$admitted of $all admitted in $elapsed s");

cmp_ok($refused, '>', 0, 'some were refused');
cmp_ok($admitted, '<=', 50 + 500 * $elapsed, 'never over the limit');
cmp_ok($admitted, '>=', 50, 'and a burst was let through');

# what the narrow limit refused was not charged to the wide one

my $r = $t->get('/a');
my ($left) = $r->header('RateLimit') =~ /"first";r=(\d+)/;

cmp_ok($left, '>=', 40, 'the wide limit was charged for admitted ones only');

done_testing();
