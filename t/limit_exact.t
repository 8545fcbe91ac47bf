#!/usr/bin/perl

# Many workers empty the same buckets at once: exactly as many requests are
# admitted as the narrowest has units, and the others have paid for those
# only, but for what was counted as a race.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;
my ($units, $wide) = (15000, 40000);

# of so many a day hardly one comes back while this runs; r shows up to these

my $more = join '', map {
    "usher_limit l$_ rate=${wide}r/d burst=$wide key=all;\n"
} 1 .. 12;

$t->nginx(<<"CONF", workers => 4);
    usher_zone 1m;
    keepalive_requests 1000000;

    server {
        listen 127.0.0.1:%%PORT%% reuseport;

        location = /status { usher_status; }

        location /a {
            usher_event off;
            $more
            usher_limit narrow rate=1000r/d burst=$units key=all;
        }
    }
CONF

$t->write_file('edge1/html/a', 'content');

my $url = 'http://127.0.0.1:' . $t->port('edge1') . '/a';
my ($admitted, $all) = (0, 0);

for (1 .. 12) {
    my $out = `wrk -t2 -c64 -d2s $url`;
    my ($n) = $out =~ /(\d+) requests in/;
    my ($refused) = $out =~ /Non-2xx or 3xx responses: (\d+)/;

    $all += $n;
    $admitted += $n - ($refused // 0);
    last if $refused;
}

# wrk leaves up to 64 answers unread each time it ends

my $counters = $t->get('/status')->json->{counters};

cmp_ok($counters->{requests_limited}, '>', 0, 'the bucket was emptied');
cmp_ok($admitted, '<=', $units, 'never over the limit');
cmp_ok($admitted, '>=', $units - 12 * 64 - $counters->{limit_races},
       'and nothing was withheld');

# what the wide ones have paid

my %left = $t->get('/a')->header('RateLimit') =~ /"(\w+)";r=(\d+)/g;

is($left{narrow}, 0, 'no unit is left');

my @paid = map { $wide - $left{"l$_"} } 1 .. 12;
my ($most) = sort { $b <=> $a } @paid;

note "$admitted admitted, the others have paid @paid, "
     . "$counters->{limit_races} races";
cmp_ok($most, '<=', $units + $counters->{limit_races},
       'a refused request has paid only where a race was counted');

done_testing();
