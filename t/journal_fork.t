#!/usr/bin/perl

# An edge whose slot was stored as another history, by an older state of its
# machine: both are rows, and nothing that they share is there twice.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;
use Usher::Drain;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=8m segment=64k window=1m sync=10ms retain=1s',
    server => 'location = /r { usher_auth optional; usher_event on;
                               return 200 "x"; }'),
    test_module => 1, workers => 1);

$t->get('/r') for 1 .. 30;

my $id;

$t->wait_for(sub { ($id) = Usher::Drain->new($t)->known }, 'registered');
$t->wait_for(sub { $t->redis_cli('xlen', "usher:ev:$id") > 0 }, 'shipped');


# The edge stands still while the other history is stored: 20 of its lines.

my $segment = $t->slurp("$t->{dir}/edge1/journal/$id/00000001.seg");
my @lines = (split /^/, substr $segment, 4096)[0 .. 29];
is(scalar(grep { /^r1\t.*\n\z/ } @lines), 30, 'lines of the edge');

kill 'STOP', $t->workers;

my $other = Usher::Slot->new($t, id => $id, unregistered => 1);

$other->append(@lines[0 .. 19], $other->requests(5))->takeup(0);
$t->usherd(duties => 'flush');
$t->wait_for(sub { $t->sql('select count(*) from usher.request') == 25 },
             'the other history is stored', 20);


# it goes on: its own history has 20 lines of that, and 20 that are not there

kill 'CONT', $t->workers;
$t->get('/r') for 1 .. 10;
$t->wait_for(sub { $other->state eq 'forked' }, 'forked', 30);
is(($other->ack)[0], length join('', @lines[0 .. 19]), 'common to the line');
$t->wait_for(sub { $t->sql('select count(*) from usher.request') >= 45 },
             'the rest comes in another slot', 30);
$t->wait_for(sub { !grep { $_ eq $id } Usher::Drain->new($t)->known },
             'which is then all of it', 30);

is($t->sql('select count(*) from usher.request'), 45, 'so many rows');
is($t->sql('select count(distinct request_id) from usher.request'), 45,
   'each event once');
is($t->ctl('journal verify')->{duplicates}, 0, 'nothing is there twice');
is($other->once, '', 'nothing of the other history is gone');

done_testing();
