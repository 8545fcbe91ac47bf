#!/usr/bin/perl

# Blocks that cannot be read any more are an error and not a signal: it is
# tried for a while, then they are a hole, and the rest is shipped.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->stop('redis');
$t->nginx(Usher::Drain->conf(server => '', journal =>
    'size=8m segment=64k retain=1h window=1m sync=off'), test_module => 1);

my @lines = map { my @l = $d->feed(20, 500); sleep 0.03; @l } 1 .. 20;
my ($slot) = $d->dirs;

kill 'KILL', $t->workers;
$t->wait_for(sub { $t->error_log =~ /slot $slot adopted/ }, 'adopted', 20);

# the disk loses the end of the first segment

my $file = "$t->{dir}/edge1/journal/$slot/00000001.seg";

truncate $file, 16384 or die "$file: $!";

my ($worker) = $t->workers;

$t->start('redis');
ok($d->drain(sub { $d->slot($slot)->{ended} }, 60), 'shipped to its end');
is(($t->workers)[0], $worker, 'the worker lives');
like($t->error_log, qr/segment 1 of slot $slot cannot be read/, 'it is said');
is(scalar(() = $t->error_log =~ /cannot be read/g), 1, 'once');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

my $s = $d->slot($slot);
my ($hole) = @{ $s->{holes} };

is(scalar @{ $s->{holes} }, 1, 'one hole');
is($s->{position}, 500 * @lines, 'to the end of what was there');

my $kept = join '', map { "$_\n" } @lines;

is(substr($s->{bytes}, $hole->[1]), substr($kept, $hole->[1]),
   'all that follows is there');
is(substr($s->{bytes}, 0, $hole->[0]), substr($kept, 0, $hole->[0]),
   'and all before it');

$t->stop('nginx');

# one bad block in the middle: the seals around it are still read

open my $fh, '>', "$t->{dir}/bad.c" or die;
print $fh <<"C";
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t
pread64(int fd, void *buf, size_t n, long at)
{
    char     link[64], path[512];
    ssize_t  len;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof(path) - 1);

    if (len > 12 && memcmp(path + len - 12, "00000001.seg", 12) == 0
        && at < 30000 && at + (long) n > 26000
        && access("$t->{dir}/healed", F_OK) == -1)
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
close $fh;
system('cc', '-shared', '-fPIC', '-o', "$t->{dir}/bad.so", "$t->{dir}/bad.c")
    == 0 or die 'cc';
chmod 0755, "$t->{dir}/bad.so";

$t->stop('redis');
my %was = map { $_ => 1 } $d->dirs;
$t->start('nginx');
@lines = map { my @l = $d->feed(5, 500); sleep 0.03; @l } 1 .. 24;
($slot) = grep { !$was{$_} } $d->dirs;
$t->stop('nginx');
$t->start('redis');

{
    local $ENV{LD_PRELOAD} = "$t->{dir}/bad.so";
    $t->start('nginx');
}

ok($d->drain(sub { $d->slot($slot)->{ended} }, 60), 'shipped to its end');
$s = $d->slot($slot);
is(scalar @{ $s->{holes} }, 1, 'one hole');
$hole = $s->{holes}[0];
cmp_ok($hole->[1] - $hole->[0], '<=', 10_000, 'no larger than its seals');
$kept = join '', map { "$_\n" } @lines;
substr $kept, $hole->[0], $hole->[1] - $hole->[0],
       "\0" x ($hole->[1] - $hole->[0]);
ok($s->{bytes} eq $kept, 'and every other byte is there');

# blocks that can be read again, before they were given up

$t->stop('nginx');
$t->stop('redis');
%was = map { $_ => 1 } $d->dirs;
$t->start('nginx');
@lines = map { my @l = $d->feed(5, 500); sleep 0.03; @l } 1 .. 24;
($slot) = grep { !$was{$_} } $d->dirs;
$t->stop('nginx');
$t->start('redis');

{
    local $ENV{LD_PRELOAD} = "$t->{dir}/bad.so";
    $t->start('nginx');
}

$t->wait_for(sub { $t->error_log =~ /segment 1 of slot $slot cannot be read/ },
             'a block cannot be read', 30);
$t->write_file('healed', '');
ok($d->drain(sub { $d->slot($slot)->{ended} }, 60), 'it can: to its end');
ok($d->slot($slot)->{bytes} eq join('', map { "$_\n" } @lines), 'all of it');
is(scalar @{ $d->slot($slot)->{holes} }, 0, 'no hole');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

done_testing();
