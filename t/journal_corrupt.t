#!/usr/bin/perl

# Segments of a dead process: damaged bytes become a hole and the rest is
# shipped; another boot_id makes the end be found by scanning, and what a
# recycled segment held before never passes for its lines.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Fcntl 'SEEK_SET';
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $header = 4096;

my $conf = Usher::Drain->conf(
    journal => 'size=8m segment=64k retain=1h window=64k sync=off',
    server => '');


sub patch {
    my ($file, $at, $bytes) = @_;

    open my $fh, '+<:raw', $file or die "$file: $!";
    sysseek $fh, $at, SEEK_SET;
    syswrite $fh, $bytes;
    close $fh;
}


# Lines into a slot of a node that is then killed; nothing was shipped.

sub dead {
    my ($batches, $n) = @_;

    $t->redis unless $t->{servers}{redis};
    $t->stop('redis');
    $t->nginx($conf, test_module => 1);

    my %was = map { $_ => 1 } $d->dirs;
    my @lines = map { my @l = $d->feed($n, 500); sleep 0.04; @l }
                1 .. $batches;
    my ($slot) = grep { !$was{$_} } $d->dirs;
    my @pids = $t->workers;

    $t->kill9('master');
    kill 'KILL', @pids;
    sleep 0.1;

    return ($slot, "$t->{dir}/edge1/journal/$slot", @lines);
}


sub adopt {
    my ($slot, $position) = @_;

    $t->start_redis;
    $t->start('nginx');

    return $d->drain(sub { $d->slot($slot)->{ended} }, 20);
}

# bytes of a sealed range in the middle are flipped

my ($slot, $dir, @lines) = dead(30, 10);

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

($slot, $dir, @lines) = dead(30, 10);
patch("$dir/00000001.seg", 65_536 - 5 * 32 + 8, "\xff" x 8);
ok(adopt($slot), 'a slot with a damaged seal is shipped to its end');
$s = $d->slot($slot);
is(scalar @{ $s->{holes} }, 1, 'one hole');
is($s->{position}, 150_000, 'and the rest');
is_deeply([$d->faults], [], 'no rule broken');
$t->stop('nginx');

# the header of a segment is gone

($slot, $dir, @lines) = dead(40, 10);
patch("$dir/00000002.seg", 0, "\0" x 512);
ok(adopt($slot), 'a slot with a damaged header is shipped to its end');
$s = $d->slot($slot);
is(scalar @{ $s->{holes} }, 1, 'one hole');
is($s->{position}, 200_000, 'and the rest');
is_deeply([$d->faults], [], 'no rule broken');
$t->stop('nginx');

# killed while it made the next file: that has no size yet, or not all of it

for my $size (0, 8192) {
    ($slot, $dir, @lines) = dead(30, 10);

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

# the machine restarted: the committed word counts no more

($slot, $dir, @lines) = dead(30, 10);

my ($last) = (sort grep { substr($t->slurp($_), 4096, 2) eq 'r1' }
              glob "$dir/*.seg")[-1];
my $at = index $t->slurp($last), qx(cat /proc/sys/kernel/random/boot_id)
         =~ s/\s//r;

for (glob "$dir/*.seg") {
    next if substr($t->slurp($_), 4096, 2) ne 'r1';
    reboot($_);
}


# As after a power loss: another boot_id, and words that were written long
# before the lines that they should count.

sub reboot {
    my ($file) = @_;

    my $head = substr $t->slurp($file), 0, 4096;

    substr $head, $at, 8, '00000000';

    my $crc = crc32c(substr $head, 0, $at + 40);

    patch($file, $at, '00000000');
    patch($file, $at + 40, pack 'V', $crc);
    patch($file, 128, pack 'Q', 500 + unpack 'Q', substr $head, 24, 8);
    patch($file, 192, pack 'Q', 0);
}


sub crc32c {
    my ($bytes) = @_;
    my $crc = 0xffffffff;

    for my $byte (unpack 'C*', $bytes) {
        $crc ^= $byte;
        $crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
    }

    return $crc ^ 0xffffffff;
}

ok(adopt($slot), 'a slot of another boot is shipped to its end');
$s = $d->slot($slot);
cmp_ok($s->{position}, '>=', 145_000, 'to the last seal');
is(scalar @{ $s->{holes} }, 0, 'without a hole');
is($s->{bytes}, substr(join('', map { "$_\n" } @lines), 0, $s->{position}),
   'as it was');
is_deeply([$d->faults], [], 'no rule broken');

done_testing();
