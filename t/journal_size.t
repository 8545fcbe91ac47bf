#!/usr/bin/perl

# What a node's journal holds on disk and in Redis is counted right, whatever
# of its processes was killed.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=2m segment=64k window=256k sync=off retain=1h',
    server => 'location = /status { usher_status; }'),
    test_module => 1, workers => 2);


sub on_disk {
    my $bytes = 0;

    $bytes += -s for glob "$t->{dir}/edge1/journal/*/*.seg";

    return $bytes;
}


sub status { $t->get('/status')->json->{journal} }

my @lines = map { my @l = $d->feed(50, 500); sleep 0.03; @l } 1 .. 12;

$t->wait_for(sub { status()->{bytes} == on_disk() && on_disk() },
             'size is counted');
$t->wait_for(sub { my $w = status()->{window}; $w > 0 && $w <= 262_144 },
             'and the window');

for my $round (1 .. 3) {
    my %was = map { $_ => 1 } $t->workers;

    kill 'KILL', keys %was;
    $t->wait_for(sub { 2 == grep { !$was{$_} } $t->workers }, 'killed');
    push @lines, map { my @l = $d->feed(50, 500); sleep 0.03; @l } 1 .. 3;
}

$t->wait_for(sub { status()->{bytes} == on_disk() }, 'size after kill -9', 15);
cmp_ok(status()->{bytes}, '<=', 2 * 1024 * 1024, 'it was kept to');

my $lying = 0;

for my $id ($d->known) {
    $lying += length({ @{ $_->[1] } }->{d} // '')
        for @{ $d->redis->xrange("usher:ev:$id", '-', '+') };
}

# a slot that has nothing in Redis may always send one entry

my $slack = 65536 * $d->known;

cmp_ok($lying, '<=', 262_144 + $slack, 'Redis holds a window');

ok($d->drain(sub { $d->lines == @lines }, 20), 'all is shipped');
is($d->exactly(@lines), '', 'once');
$t->wait_for(sub { status()->{window} == 0 }, 'the window is empty');

done_testing();
