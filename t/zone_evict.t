#!/usr/bin/perl

# Buckets that are not idle are forgotten last: a flood of other clients,
# over a killed worker, gives nobody his units back.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->nginx(<<'CONF', workers => 2);
    usher_zone 1m;
    keepalive_requests 1000000;

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /status { usher_status; }

        location = /slow {
            usher_limit slow rate=3r/d key=$arg_who;
        }

        location = /fast {
            usher_limit fast rate=1000000r/s burst=1000000 key=$request_id;
        }
    }
CONF

$t->write_file("edge1/html/$_", 'x') for qw(slow fast);


sub zone { $t->get('/status')->json }


sub flood {
    my $url = 'http://127.0.0.1:' . $t->port('edge1') . '/fast';
    `wrk -t1 -c8 -d2s $url`;
}

my @who = map { "client$_" } 1 .. 40;

for my $who (@who) {
    my @got = map { $t->get("/slow?who=$who")->status } 1 .. 4;
    is("@got", '200 200 200 429', "$who has used what he has");
}

my $cells = zone()->{zone}{buckets}{cells};

flood() for 1 .. 2;
$t->kill9('worker');
$t->wait_for(sub { $t->workers == 2 }, 'a worker was killed');
flood();

my $now = zone();

cmp_ok($now->{counters}{zone_evicted}, '>', $cells, 'the zone was flooded');
is($now->{counters}{zone_forgotten}, 0, 'nobody was forgotten but the idle');
is(join(' ', map { $t->get("/slow?who=$_")->status } @who),
   join(' ', (429) x @who), 'and nobody has units again');

done_testing();
