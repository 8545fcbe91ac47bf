#!/usr/bin/perl

# The edge drives the repair, at the first moment it can: a Redis just met is
# looked at before anything is sent to it, a rewind runs once, the register is
# written again, and the window is the node's.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;

# of connections each worker gets its share

(my $conf = Usher::Drain->conf(server => '',
    journal => 'size=8m segment=128k retain=1h window=96k sync=off'))
    =~ s/%%PORT%%;/%%PORT%% reuseport;/;

$t->nginx($conf, test_module => 1, workers => 3);


sub registered { return scalar(my @all = $d->known) }


# Bytes that lie in all streams.

sub held {
    my $bytes = 0;

    for my $id ($d->known) {
        $bytes += length({ @{ $_->[1] } }->{d} // '')
            for @{ $d->redis->xrange("usher:ev:$id", '-', '+') };
    }

    return $bytes;
}


# usherd is away: three workers share one window; an entry is free for each,
# so that a slot which stands still does not stop the others

my @lines = map { $d->feed(1, 100) } 1 .. 30;

$t->wait_for(sub { registered() == 3
                   && !grep { !$d->redis->xlen("usher:ev:$_") } $d->known },
             'three slots', 20);
push @lines, map { $d->feed(20, 500) } 1 .. 60;
sleep 1.5;
my $held = held();
note "$held bytes";
cmp_ok($held, '<=', (96 + 64) * 1024, 'what is not acknowledged is bounded '
       . 'for the node, by its window and what two see at the same time');
cmp_ok($held, '>=', 32 * 1024, 'and used');
ok($d->drain(sub { $d->lines == @lines }), 'and all of it comes');
is($d->exactly(@lines), '', 'once');


# Redis dies and comes back empty while lines come: what it gets first is the
# stream from the acknowledged position, never a later part of it

for my $round (1 .. 3) {
    push @lines, map { $d->feed(10, 500) } 1 .. 6;
    $t->wait_for(sub { eval { held() } }, "round $round: in Redis");
    $t->kill9('redis');
    push @lines, map { $d->feed(10, 500) } 1 .. 6;
    $t->start_redis;

    my $gaps = 0;

    for (1 .. 60) {
        eval { $d->pull };
        $gaps += grep { $d->slot($_)->{rewind} } $d->slots;
        sleep 0.01;
    }

    is($gaps, 0, "round $round: nothing was sent that does not follow");
    ok($d->drain(sub { $d->lines == @lines }), "round $round: all of it");
}

is($d->exactly(@lines), '', 'each line once');


# a rewind that stays written is run once

my ($id) = $d->known;

push @lines, map { $d->feed(10, 500) } 1 .. 9;
ok($d->drain(sub { $d->lines == @lines }), 'more lines');

my $said = () = $t->error_log =~ /sent again from/g;

$d->{nonce}++;
$d->redis->set("usher:ack:$id", sprintf '%d %016x r', $d->slot($id)->{position},
               $d->{nonce});
$t->wait_for(sub { ($said + 1) == (() = $t->error_log =~ /sent again from/g) },
             'a rewind is run');
sleep 2.5;
is(scalar(() = $t->error_log =~ /sent again from/g), $said + 1, 'once');
$d->redis->set("usher:ack:$id", sprintf '%d %016x r', $d->slot($id)->{position},
               ++$d->{nonce});
$t->wait_for(sub { ($said + 2) == (() = $t->error_log =~ /sent again from/g) },
             'and again for another nonce');


# the register is wiped, and nothing but it

$t->redis_cli('del usher:slots');
$t->wait_for(sub { registered() == 3 }, 'slots are registered again', 25);

ok($d->drain(sub { $d->lines == @lines }), 'all lines');
is($d->exactly(@lines), '', 'once');

done_testing();
