#!/usr/bin/perl

# A worker dies while the lines above a fork move, at each step of that and at
# any moment: each line comes once.  A library of the test holds a worker at
# the step where it is to die: in renameat(), before or after the nth file of
# a name has got it.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Segment;
use Fcntl ':flock';
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $dir = "$t->{dir}/edge1/journal";
my $at = "$t->{dir}/at";
my @lines;

mkdir $at;
chmod 0777, $at;

my $hold = library($t, 'hold', <<"C");
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
here(const char *what, const char *when, int n)
{
    char  path[512];

    snprintf(path, sizeof(path), "$at/%s-%s-%d", what, when, n);

    return access(path, F_OK) == 0 && unlink(path) == 0;
}

int
renameat(int from, const char *old, int to, const char *name)
{
    int          i, rc;
    const char  *what;
    static int   n[2];

    i = strcmp(name, "moved") == 0 ? 0 : strlen(name) == 32 ? 1 : -1;

    if (i == -1) {
        return syscall(SYS_renameat2, from, old, to, name, 0);
    }

    what = i ? "slot" : "moved";
    n[i]++;

    while (here(what, "before", n[i])) {
        pause();
    }

    rc = syscall(SYS_renameat2, from, old, to, name, 0);

    while (here(what, "after", n[i])) {
        pause();
    }

    return rc;
}
C

$t->redis;


sub conf {
    return Usher::Drain->conf(server => '', journal =>
        "size=8m segment=64k window=1m sync=50ms retain=$_[0]");
}


# A slot of a megabyte, forked after its first segment; it is held at a step.

sub fork_at {
    my ($step) = @_;

    my %was = map { $_ => 1 } $d->slots;

    push @lines, map { sleep 0.01; $d->feed(100, 500) } 1 .. 20;
    $t->wait_for(sub { $d->pull; $d->lines >= @lines - 1000 }, 'read');

    my ($id) = grep { !$was{$_} } $d->slots;

    $t->write_file("at/$step", '');
    $d->ack(slot => $id, at => 50_000, state => 'f');

    return $id;
}


sub moved { $t->error_log =~ /all that forked slot $_[0] had above/ }

sub held {
    my ($step) = @_;

    return $t->wait_for(sub { !-e "$at/$step" }, "a worker is at $step", 20);
}

{
    local $ENV{LD_PRELOAD} = $hold;
    $t->nginx(conf('1h'), test_module => 1);
}

# one step after the other, each in the worker that follows the last one: a
# slot gets its name as the first of its process only after those of forks

my @steps = qw(moved-before-1 moved-after-1 slot-before-1 slot-after-1
               moved-before-2 moved-after-2 moved-after-3 slot-after-3);
my $step = shift @steps;
my $id = fork_at($step);

for my $next (@steps, '') {
    held($step);
    $t->write_file("at/$next", '') if $next;
    kill 'KILL', $t->workers;
    $step = $next;
}

$t->wait_for(sub { $d->pull; moved($id) }, 'all of it is moved', 30);
ok($d->drain(sub { $d->lines >= @lines }, 30), 'what was above it came');
is($d->exactly(@lines), '', 'each line once, wherever its worker died');
unlike($t->error_log, qr/has a hole|lacks/, 'no hole');

# at any moment

$t->stop('nginx');
$t->start('nginx');
$id = fork_at('none');
unlink "$at/none";

for my $round (1 .. 8) {
    my $n = $d->dirs;

    $t->wait_for(sub { $d->dirs > $n || moved($id) }, "round $round: on");
    sleep rand 0.02;
    kill 'KILL', $t->workers;
}

$t->wait_for(sub { $d->pull; moved($id) }, 'all of it is moved', 30);
ok($d->drain(sub { $d->lines >= @lines }, 30), 'what was above it came');
is($d->exactly(@lines), '', 'each line once, whenever its worker died');

# the new slot is stored and past retain before the forked one is adopted: it
# has to stay, or its lines would be moved again

$t->stop('nginx');
$t->nginx_conf(conf('0'), test_module => 1);

{
    local $ENV{LD_PRELOAD} = $hold;
    $t->start('nginx');
}

$id = fork_at('slot-after-2');
held('slot-after-2');

my @pids = $t->workers;

$t->kill9('master');
kill 'KILL', @pids;
open my $lock, '<', "$dir/$id/lock" or die "$dir/$id/lock: $!";
$t->wait_for(sub { flock $lock, LOCK_EX | LOCK_NB }, 'nobody adopts it yet');

my ($new) = unpack 'x24 H32', $t->slurp("$dir/$id/moved");

ok(-e "$dir/$new", 'the new slot has its name, and "moved" names it');
$t->start('nginx');
ok($d->drain(sub { $d->slot($new)->{ended} }, 20), 'it is shipped to its end');
ok($d->drain(sub { !grep { $_ ne $id && $_ ne $new } $d->dirs }, 20),
   'those that nobody asks for go');
$d->drain(sub { 0 }, 4);
ok(-e "$dir/$new/00000001.seg", 'it stays');
close $lock;
ok($d->drain(sub { !-e "$dir/$id" && $d->lines >= @lines }, 30),
   'then the forked one is moved, and goes');
is($d->exactly(@lines), '', 'each line once');
ok($d->drain(sub { !-e "$dir/$new" }, 20), 'and the new slot with it');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

done_testing();
