#!/usr/bin/perl

# What a process had committed when it was killed, sealed or not, is shipped;
# and an adopted slot is kept for retain after its end was acknowledged, for
# PostgreSQL may still be set back.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);


sub conf {
    return Usher::Drain->conf(server => '',
        journal => "size=8m segment=64k window=1m sync=off retain=$_[0]");
}

$t->redis;
$t->nginx(conf('1h'), test_module => 1, workers => 2);

# kill -9 right after the answer: a seal comes 20 ms later

my @lines;

for (1 .. 15) {
    my @new;

    for my $try (1 .. 50) {
        @new = $d->feed(3, 300) and last;
        sleep 0.05;
    }

    kill 'KILL', $t->workers;
    push @lines, @new;
    $t->wait_for(sub { $t->workers == 2 }, "round $_: new workers") or last;
}

is(scalar @lines, 45, 'each was answered');
ok($d->drain(sub { $d->lines >= @lines }, 30), 'all of them are shipped');
is($d->exactly(@lines), '', 'once');
is_deeply([ map { @{ $d->slot($_)->{holes} } } $d->slots ], [], 'no hole');

# acknowledged to their ends, but not past retain

my @slots = $d->slots;

ok($d->drain(sub { !grep { !$d->slot($_)->{ended} } @slots }, 20), 'ended');
sleep 3;
$d->ack;
is_deeply([ $d->dirs ], \@slots, 'adopted slots are still on disk');

# PostgreSQL is set back to before the end of three of them

my @back = @slots[0 .. 2];

for my $id (@back) {
    $d->slot($id)->{ended} = 0;
    $d->ack(slot => $id, at => 300);
}

ok($d->drain(sub { $d->lines >= @lines }, 20), 'they are sent again');
is($d->exactly(@lines), '', 'each line once');

# with a shorter retain they go

$t->nginx_conf(conf('1s'), test_module => 1, workers => 2);
ok($t->reload, 'retain is a second');
ok($d->drain(sub { !grep { my $id = $_; grep { $_ eq $id } $d->dirs } @slots },
             40), 'then they go');
is($d->exactly(@lines), '', 'and nothing came twice');

done_testing();
