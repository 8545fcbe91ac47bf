#!/usr/bin/perl

# Segments of a dead process: damaged bytes become a hole and the rest is
# shipped; files that were not finished end it.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Segment;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $header = 4096;

my $conf = Usher::Drain->conf(
    journal => 'size=8m segment=64k retain=1h window=64k sync=off',
    server => '');


sub fill {
    $t->redis unless $t->{servers}{redis};
    $t->stop('redis');
    $t->nginx($conf, test_module => 1);

    return dead($t, $d, 30, 10);
}


sub adopt {
    my ($slot, $position) = @_;

    $t->start_redis;
    $t->start('nginx');

    return $d->drain(sub { $d->slot($slot)->{ended} }, 20);
}

# bytes of a sealed range in the middle are flipped

my ($slot, $dir, @lines) = fill();

patch("$dir/00000001.seg", $header + 21_000, 'ZZZZ');
ok(adopt($slot), 'a slot with damaged lines is shipped to its end');

my $s = $d->slot($slot);

is($s->{position}, 150_000, 'its whole length');
is(scalar @{ $s->{holes} }, 1, 'one hole');

my ($from, $end, $reason) = @{ $s->{holes}[0] };

is($reason, 'corrupt', 'for the reason');
ok($from <= 21_000 && $end > 21_000 && $end - $from <= 10_000,
   "no larger than its seal: $from to $end");
is($s->{bytes}, do {
    my $all = join '', map { "$_\n" } @lines;
    substr $all, $from, $end - $from, "\0" x ($end - $from);
    $all;
}, 'and every other byte is there');
is_deeply([$d->faults], [], 'no rule of the stream broken');
like($t->error_log, qr/has a hole from $from to $end: corrupt/, 'reported');
$t->stop('nginx');

# a seal is damaged instead of lines

($slot, $dir, @lines) = fill();
patch("$dir/00000001.seg", 65_536 - 5 * 32 + 8, "\xff" x 8);
ok(adopt($slot), 'a slot with a damaged seal is shipped to its end');
$s = $d->slot($slot);
is(scalar @{ $s->{holes} }, 1, 'one hole');
is($s->{position}, 150_000, 'and the rest');
is_deeply([$d->faults], [], 'no rule broken');
$t->stop('nginx');

# killed while it made the next file: that has no size yet, or not all of it

for my $size (0, 8192) {
    ($slot, $dir, @lines) = fill();

    my $next = (sort glob "$dir/*.seg")[-1];

    unlink $next if substr($t->slurp($next), 4096, 2) ne 'r1';
    $next =~ s/(\d{8})\.seg/sprintf '%08d.seg', $1 + 1/e if -e $next;

    open my $fh, '>', $next or die "$next: $!";
    truncate $fh, $size;
    close $fh;
    chown((stat $dir)[4, 5], $next);

    ok(adopt($slot), "a slot whose next file has $size bytes is shipped");
    is($d->slot($slot)->{bytes}, join('', map { "$_\n" } @lines),
       'to the end of the one before');
    is_deeply([$d->faults], [], 'no rule broken');
    $t->stop('nginx');
}

done_testing();
