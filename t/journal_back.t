#!/usr/bin/perl

# Positions that go back or apart: PostgreSQL restored to an earlier state,
# once within retain and once before it; an older copy of a slot under a
# second node; two holders; a fork; and a recycled segment after a restart.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Fcntl 'SEEK_SET';
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);


sub conf {
    my ($retain, $window) = @_;

    return Usher::Drain->conf(server => '', journal => 'size=8m segment=64k '
        . "retain=$retain sync=off window=" . ($window // '1m'));
}

$t->redis;
$t->nginx(conf('1h'), test_module => 1);

# restored, within retain

my @lines = map { my @l = $d->feed(50, 500); sleep 0.05; @l } 1 .. 10;

ok($d->drain(sub { $d->lines == 500 }), 'stored');

my ($id) = $d->slots;

sleep 1.5;
$d->ack(at => 30_000);
ok($d->drain(sub { $d->lines == 500 }), 'a lower position is obeyed');
is($d->exactly(@lines), '', 'from retained segments');
like($t->error_log, qr/goes back from 250000 to 30000/, 'and said');

# restored before the edge had heard of the higher position

push @lines, $d->feed(50, 500);
$t->wait_for(sub { $d->pull; $d->lines == 550 }, 'more');
$d->ack;
$d->ack(at => 250_000);
ok($d->drain(sub { $d->lines == 550 }), 'an empty stream is noticed');

# an older copy of the slot turns up under another node

my $copy = "$t->{dir}/edge2/journal";
mkdir "$t->{dir}/edge2";
system('cp', '-a', "$t->{dir}/edge1/journal", $copy);

push @lines, map { my @l = $d->feed(50, 500); sleep 0.05; @l } 1 .. 4;
ok($d->drain(sub { $d->lines == 750 }), 'the slot goes on');

$t->nginx(conf('1s'), name => 'edge2', test_module => 1);

my $two = $t->on('edge2');

$t->wait_for(sub { !$d->dirs('edge2') }, 'the copy is retired', 15);
like($two->error_log, qr/PostgreSQL is at 375000: it is a copy/, 'as a copy');
ok($d->redis->exists("usher:ev:$id"), 'its stream is left alone');
push @lines, $d->feed(50, 500);
ok($d->drain(sub { $d->lines == 800 }), 'and its owner goes on');
is($d->exactly(@lines), '', 'nothing twice');
$t->stop('edge2');

# two holders: the copy is not behind PostgreSQL, which stands still

push @lines, $d->feed(50, 500);
$t->wait_for(sub { $d->redis->xlen("usher:ev:$id") }, 'shipped, not stored');
sleep 0.1;
system('cp', '-a', "$t->{dir}/edge1/journal", "$t->{dir}/edge2/");
$t->start('edge2');
sleep 2.5;
push @lines, $d->feed(50, 500);
ok($d->drain(sub { $d->lines == 900 }, 30), 'both send the same bytes');
is($d->exactly(@lines), '', 'of which each is stored once');
$t->wait_for(sub { eval { $d->pull; $d->ack }; !$d->dirs('edge2') },
             'the copy goes', 15);
push @lines, $d->feed(50, 500);
ok($d->drain(sub { $d->lines == 950 }, 30), 'the owner stays');
is($d->exactly(@lines), '', 'nothing twice');
$t->stop('edge2');

# a fork: what lies above it comes again in another slot

push @lines, map { my @l = $d->feed(50, 500); sleep 0.05; @l } 1 .. 4;
$t->wait_for(sub { $d->pull; $d->lines == 1150 }, 'read');

my $fork = $d->slot($id)->{position} - 40_000;

$d->ack(slot => $id, at => $fork, state => 'f');
ok($d->drain(sub { $d->slots > 1 && $d->lines >= 1150 }, 20),
   'a new slot has what was above');
is($d->exactly(@lines), '', 'each line once');
$t->wait_for(sub { !$d->redis->exists("usher:ev:$id") },
             'the stream of the forked one is gone');
ok((grep { $_ eq $id } $d->dirs), 'what lies below is kept');
like($t->error_log, qr/slot $id is forked at $fork, 40000 bytes/, 'reported');
push @lines, $d->feed(50, 500);
ok($d->drain(sub { $d->lines == 1200 }), 'appending goes on');
is($d->exactly(@lines), '', 'in the new slot');

# restored to before what was retained: a hole, and the rest

$t->nginx_conf(conf('0'), test_module => 1);
ok($t->reload, 'retain=0');
$t->wait_for(sub { !grep { $_ eq $id } $d->dirs }, 'the forked one goes');
push @lines, map { my @l = $d->feed(50, 500); sleep 0.08; $d->pull; $d->ack;
                   @l } 1 .. 12;
ok($d->drain(sub { $d->lines == @lines }), 'stored');

my ($new) = grep { $d->slot($_)->{position} > 200_000 && $_ ne $id }
            $d->dirs;
my $end = $d->slot($new)->{position};

$t->wait_for(sub { !-e "$t->{dir}/edge1/journal/$new/00000001.seg" },
             'the first segment is gone');
$d->ack(slot => $new, at => 10_000);
ok($d->drain(sub { $d->slot($new)->{position} == $end }), 'sent again');

my @holes = @{ $d->slot($new)->{holes} };

is(scalar @holes, 1, 'with a hole');
is($holes[0][0], 10_000, 'from where PostgreSQL is');
is($holes[0][2], 'freed', 'for what was freed');
is_deeply([$d->faults], [], 'no rule broken');

done_testing();
