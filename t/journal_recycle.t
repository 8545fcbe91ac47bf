#!/usr/bin/perl

# A segment that is used again shows nothing of what it held before, wherever
# a worker dies: between its new name and its new header, and at any moment.
# A library of the test holds a worker behind renameat() of a segment.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Segment;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $hold = "$t->{dir}/hold";
my @lines;

my $so = library($t, 'recycle', <<"C");
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int
renameat(int from, const char *old, int to, const char *name)
{
    int     rc;
    size_t  len;

    len = strlen(name);
    rc = syscall(SYS_renameat2, from, old, to, name, 0);

    while (len > 4 && strcmp(name + len - 4, ".seg") == 0
           && access("$hold", F_OK) == 0)
    {
        usleep(1000);
    }

    return rc;
}
C

$t->redis;

{
    local $ENV{LD_PRELOAD} = $so;
    $t->nginx(Usher::Drain->conf(journal =>
        'size=4m segment=64k retain=0 window=1m sync=10ms', server => ''),
        test_module => 1);
}


# Lines of a slot, acknowledged as they come, until a condition.

sub flow {
    my ($until) = @_;

    for (1 .. 400) {
        push @lines, $d->feed(10, 500);
        return 1 if $until->();
        eval { $d->pull; $d->ack };
        sleep 0.02;
    }

    return 0;
}


# Sequences of the newest slot's segments.

sub sequences {
    my ($slot) = @_;

    return map { m{/0*(\d+)\.seg$} } glob "$t->{dir}/edge1/journal/$slot/*.seg";
}

# it has its new name, and the header and the lines of before

ok(flow(sub { my ($s) = $d->dirs; $s && (sequences($s))[0] > 3 }),
   'segments are used again');

my ($slot) = $d->dirs;
my $head;

$t->write_file('hold', '');
ok(flow(sub {
    my $file = (sort glob "$t->{dir}/edge1/journal/$slot/*.seg")[-1];

    # it may be in the making, or be called otherwise by now

    $head = eval { $t->slurp($file) } // '';
    return 0 if length $head < 4096;

    my $was = unpack 'x16 Q', $head;

    return $was && $was < (sequences($slot))[-1];
}), 'one has its new name, and its old header');
like(substr($head, 4096), qr/^r1\t/, 'and old lines');
kill 'KILL', $t->workers;
unlink $hold;
ok($d->drain(sub { $d->slot($slot)->{ended} }, 20), 'it is shipped to its end');
is($d->exactly(@lines), '', 'each line once, and none of before');
is(scalar(map { @{ $d->slot($_)->{holes} } } $d->slots), 0, 'without a hole');

# at any moment

for my $round (1 .. 8) {
    my $fed = @lines;

    flow(sub { @lines > $fed + 100 + rand 300 });
    kill 'KILL', $t->workers;
    sleep 0.1;
}

ok($d->drain(sub { $d->lines >= @lines }, 30), 'all of it comes');
is($d->exactly(@lines), '', 'each line once, whenever its worker died');
is(scalar(map { @{ $d->slot($_)->{holes} } } $d->slots), 0, 'without a hole');

done_testing();
