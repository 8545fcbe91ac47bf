#!/usr/bin/perl

# Blocks of another slot in a segment of a dead process, as a disk leaves them
# that lost its last writes: their seals are of that slot, and never pass; and
# a seal whose own words were damaged passes no more than one whose lines were.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Segment;

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my ($header, $size, $seal) = (4096, 65536, 32);

$t->redis;
$t->stop('redis');
$t->nginx(Usher::Drain->conf(server => '', journal =>
    'size=8m segment=64k retain=1h window=64k sync=off'), test_module => 1);


# Lines of one slot, whose process is then killed: ten seals, none shipped.

sub fill {
    my ($slot, $dir, @lines) = dead($t, $d, 10, 5, 0.06);

    return ($slot, "$dir/00000001.seg", @lines);
}

my ($one, $file_one, @one) = fill();
$t->start('nginx');
my ($two, $file_two, @two) = fill();
$t->start('nginx');
my ($three, $file_three, @three) = fill();

is(join(' ', map { scalar @$_ } \@one, \@two, \@three), '50 50 50',
   'three slots of dead processes');

# the second one's lines and seals lie where the first one's were

my $bytes = $t->slurp($file_two);

patch($file_one, $header, substr $bytes, $header);

# of the third one a seal's count of lines, and a seal's chain are damaged

patch($file_three, $size - 3 * $seal + 24, pack 'L', 77);
patch($file_three, $size - 6 * $seal + 16, 'ZZZZZZZZ');

$t->start('redis');
$t->start('nginx');
ok($d->drain(sub { 3 == grep { $d->slot($_)->{ended} } $one, $two, $three },
             30), 'all are shipped to their ends');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

my $s = $d->slot($one);

is(join(' ', map { "@$_" } @{ $s->{holes} }), '0 25000 corrupt',
   'nothing of the second passes for the first');
unlike($s->{bytes}, qr/r1/, 'not a line');

$s = $d->slot($two);
is($s->{bytes}, join('', map { "$_\n" } @two), 'the second is whole');
is(scalar @{ $s->{holes} }, 0, 'without a hole');

$s = $d->slot($three);

my @holes = @{ $s->{holes} };
my $lost = 0;

$lost += $_->[1] - $_->[0] for @holes;
is(scalar @holes, 2, 'the third has two holes');
cmp_ok($lost, '<=', 10_000, 'of the lines of two seals');
is($s->{position}, 25_000, 'and goes to its end');
is(scalar(grep { index($s->{bytes}, "$_\n") >= 0 } @three),
   50 - $lost / 500, 'with every other line');

done_testing();
