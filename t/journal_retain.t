#!/usr/bin/perl

# retain yields to size, for slots that are over, too: a node that is reloaded
# often drops nothing as long as what it holds is acknowledged.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=512k segment=64k window=64k sync=off retain=1h',
    server => 'location = /status { usher_status; }'),
    test_module => 1, workers => 1);

my @lines;

# each generation leaves a slot: more of them than size has room for

for my $round (1 .. 8) {
    push @lines, $d->feed(10, 1000);
    ok($t->reload, "reload $round");
    ok($d->drain(sub { $d->lines == @lines }), 'shipped and acknowledged');
}

# and now more than one segment of lines

my ($n, $fed) = (0, 0);

for (1 .. 400) {
    my @new = $d->feed(1, 10_000);

    push @lines, @new;
    $d->pull;
    $d->ack;

    if (@new) {
        last if ++$fed == 30;
    }

    sleep 0.05;
}

is($fed, 30, 'there is room again, an hour before retain has passed');
ok($d->drain(sub { $d->lines == @lines }), 'all that was taken arrives');
is($d->exactly(@lines), '', 'once');

my $status = sub { $t->get('/status')->json->{journal} };

$t->wait_for(sub { !$status->()->{full} }, 'it is not full', 15);
# beyond size only the one segment that each live slot is guaranteed

$t->wait_for(sub {
    my $bytes = 0;

    $bytes += -s for glob "$t->{dir}/edge1/journal/*/*.seg";
    $status->()->{bytes} == $bytes && $bytes <= (512 + 64) * 1024;
}, 'and its size is counted and kept to', 15);

done_testing();
