#!/usr/bin/perl

# Headers of segments that are lost: what they said is found in the seals.
# Where that is lost, too, what lies there stays there.  A spare without a
# header is none the less a spare.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Segment;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $page = "\0" x 4096;

$t->redis;


# Redis is away while lines come, so that all are only on disk.

sub fill {
    my ($retain, @how) = @_;

    $t->stop('redis');
    $t->nginx(Usher::Drain->conf(server => '',
        journal => "size=8m segment=64k retain=$retain window=64k sync=off"),
        test_module => 1);

    return dead($t, $d, @how);
}


sub adopt {
    my ($slot, $what) = @_;

    $t->start_redis;
    $t->start('nginx');
    ok($d->drain(sub { $d->slot($slot)->{ended} }, 20), "$what: to its end");
}


sub whole {
    my ($slot, $what, @lines) = @_;

    adopt($slot, $what);
    ok($d->slot($slot)->{bytes} eq join('', map { "$_\n" } @lines),
       "$what: every line");
    is(scalar @{ $d->slot($slot)->{holes} }, 0, "$what: no hole");
    $t->stop('nginx');
}

# the header page of a segment: the only one, the last, one in the middle

my ($slot, $dir, @lines) = fill('1h', 10, 5);
patch((used($dir))[0], 0, $page);
whole($slot, 'the only header', @lines);
like($t->error_log, qr/\[warn\].*segment 1 of slot $slot has lost its header/,
     'it is said');

($slot, $dir, @lines) = fill('1h', 30, 10);
patch((used($dir))[-1], 0, $page);
whole($slot, 'the last header', @lines);

($slot, $dir, @lines) = fill('1h', 30, 10);
patch((used($dir))[1], 0, $page);
whole($slot, 'a header in the middle', @lines);

# a page that is only half lost: the words that count are believed no more

($slot, $dir, @lines) = fill('1h', 10, 5);
patch((used($dir))[0], 0, pack 'Q', 1);
patch((used($dir))[0], 128, pack 'Q', 500);
whole($slot, 'a header and its count', @lines);

# the first seal is lost as well: no byte may go, retain or not

($slot, $dir, @lines) = fill('0', 30, 10);
my ($other) = fill('0', 4, 5);
my @files = used($dir);
my $end = 0;

$end += sealed($_) - $end for @files[0 .. $#files - 1];
patch($files[-1], 0, $page);
patch($files[-1], 65_536 - 32, "\xff" x 32);
adopt($slot, 'header and seal');
is($d->slot($slot)->{position}, $end, 'what is before it is shipped');
like($t->error_log, qr/\[crit\].*lines at the end of slot $slot cannot be/,
     'what is not is said');
ok($d->drain(sub { !grep { $_ eq $other } $d->dirs }), 'others are retired');
ok(-s $files[-1], 'but what lies there stays there');
$t->stop('nginx');

# a recycled spare whose header is lost is no segment

$t->nginx(Usher::Drain->conf(server => '',
    journal => 'size=8m segment=64k retain=0 window=1m sync=off'),
    test_module => 1);

my %was = map { $_ => 1 } $d->dirs;
my ($fed, $spare) = (0, 0);

while ($fed < 10_000 && !$spare) {
    $fed += $d->feed(20, 500);
    ($slot) = grep { !$was{$_} } $d->dirs;
    $dir = "$t->{dir}/edge1/journal/$slot";
    sleep 0.05;
    $d->pull;
    $d->ack;
    @files = used($dir);
    $spare = @files > 1 && sealed($files[-1]) < sealed($files[-2]);
}

ok($spare, 'a recycled spare');
ok($d->drain(sub { $d->slot($slot)->{position} == 500 * $fed }), 'stored');
kill 'KILL', $t->workers;
$t->stop('nginx');
patch((used($dir))[-1], 0, $page);
adopt($slot, 'a spare');
is($d->slot($slot)->{position}, 500 * $fed, 'nothing of a spare is shipped');
ok($d->drain(sub { !grep { $_ eq $slot } $d->dirs }), 'and its slot goes');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

done_testing();
