#!/usr/bin/perl

# After a restart of the machine a slot ends where its last valid seal ends,
# however many before that are damaged; and if nobody can read its seals now,
# it is not said to end before them.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Segment;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my ($size, $page) = (256 * 1024, 4096);

my $conf = Usher::Drain->conf(server => '', journal =>
    'size=8m segment=256k retain=1h window=1m sync=off');

$t->redis;


sub fill {
    my ($batches, $n, $pause) = @_;

    $t->stop('redis');
    $t->nginx($conf, test_module => 1);

    my ($slot, $dir, @lines) = dead($t, $d, $batches, $n, $pause);
    my @files = used($dir);

    reboot($_) for @files;

    return ($slot, $files[-1], join '', map { "$_\n" } @lines);
}


sub ended {
    my ($slot) = @_;

    return $d->drain(sub { $d->slot($slot)->{ended} }, 20);
}


sub adopt {
    my ($slot) = @_;

    $t->start_redis;
    $t->start('nginx');

    return ended($slot);
}

# nothing is damaged; the committed word counts no more

my ($slot, $file, $lines) = fill(30, 20);

ok(adopt($slot), 'a slot of another boot is shipped to its end');
is($d->slot($slot)->{position}, length $lines, 'to the last seal');
is(scalar @{ $d->slot($slot)->{holes} }, 0, 'without a hole');
ok($d->slot($slot)->{bytes} eq $lines, 'as it was');
$t->stop('nginx');

# a page of seals is lost, 128 of them

($slot, $file, $lines) = fill(320, 1, 0.022);

my $n = 0;

$n++ while substr($t->slurp($file), $size - 32 * ($n + 1), 32) ne "\0" x 32;
cmp_ok($n, '>', 256, 'more than two pages of seals');

patch($file, $size - 2 * $page, "\0" x $page);
ok(adopt($slot), 'a slot with a lost page of seals is shipped to its end');
is($d->slot($slot)->{position}, length $lines, 'to the last seal');

my @holes = @{ $d->slot($slot)->{holes} };

is(scalar @holes, 1, 'one hole');
is(substr($d->slot($slot)->{bytes}, $holes[0][1]),
   substr($lines, $holes[0][1]), 'and what follows is there');
$t->stop('nginx');

# the page cannot be read, for a while

my $bad = library($t, 'bad', <<"C");
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t
pread64(int fd, void *buf, size_t n, long at)
{
    if (at >= $size - $page && at < $size
        && access("$t->{dir}/well", F_OK) == -1)
    {
        errno = EIO;
        return -1;
    }

    return syscall(SYS_pread64, fd, buf, n, at);
}

ssize_t
pread(int fd, void *buf, size_t n, long at)
{
    return pread64(fd, buf, n, at);
}
C

($slot, $file, $lines) = fill(10, 10);

{
    local $ENV{LD_PRELOAD} = $bad;
    $t->start_redis;
    $t->start('nginx');
}

# of the slots that are there, the first that it meets

$t->wait_for(sub { $t->error_log =~ /slot \w+ cannot be read to its end/ },
             'seals that cannot be read are said');
sleep 1.5;
unlike($t->error_log, qr/slot $slot (?:adopted|retired)/,
       'and the slot is left as it is');
$t->write_file('well', '');
ok(ended($slot), 'tried again, it is shipped to its end');
ok($d->slot($slot)->{bytes} eq $lines, 'every line of it');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

done_testing();
