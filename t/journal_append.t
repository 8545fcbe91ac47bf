#!/usr/bin/perl

# Lines go from the log phase's append through the stream, in order, over many
# segments, and segments that are acknowledged and past retain are used again.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->nginx(Usher::Drain->conf(journal => 'size=512k segment=64k retain=0 '
                                        . 'window=64k sync=off', server => ''),
          test_module => 1);

is_deeply([$d->known], [], 'no slot before the first line');
is_deeply([$d->dirs], [], 'nor a directory');

my @lines = $d->feed(3);

is(scalar @lines, 3, 'lines appended');
ok($d->drain(sub { $d->lines == 3 }), 'shipped');
is($d->exactly(@lines), '', 'as they were');
is_deeply([$d->known], [$d->dirs], 'registered as its directory is named');

for (1 .. 40) {
    push @lines, $d->feed(100, 200 + 10 * $_);
    $d->pull;
    $d->ack;
    select undef, undef, undef, 0.06;
}

ok($d->drain(sub { $d->lines == @lines }), 'megabytes through 512 KB');
is(scalar @lines, 4003, 'none was refused');
is($d->exactly(@lines), '', 'all of them, in segments used again');
is(scalar(() = $d->slots), 1, 'of one slot');

my ($dir) = $d->dirs;
my @files = glob "$t->{dir}/edge1/journal/$dir/*.seg";

cmp_ok(scalar @files, '<=', 8, 'never more than size');
cmp_ok(($files[-1] =~ /(\d+)\.seg/)[0], '>', 15, 'and many sequences');

done_testing();
