#!/usr/bin/perl

# A slot in the making is not taken for one that its process left behind, as
# slow as the disk may be; one that was left behind goes.  A library of the
# test holds a worker between its lock's file and its lock.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Segment;
use IO::Select;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $journal = "$t->{dir}/edge1/journal";
my $hold = "$t->{dir}/hold";

my $so = library($t, 'draft', <<"C");
#include <sys/syscall.h>
#include <unistd.h>

int
flock(int fd, int how)
{
    /* a thread looks for slots left behind, the loop makes one */

    while (syscall(SYS_gettid) == getpid() && access("$hold", F_OK) == 0) {
        usleep(1000);
    }

    return syscall(SYS_flock, fd, how);
}
C

$t->redis;

{
    local $ENV{LD_PRELOAD} = $so;
    $t->nginx(Usher::Drain->conf(server => '', journal =>
        'size=8m segment=64k retain=0 window=1m sync=off'),
        test_module => 1, workers => 2);
}


sub drafts { return grep { -d } glob "$journal/.new-*" }

# the one that makes a slot is held, the other one looks around

$t->write_file('hold', '');

my $s = $t->connect;

$s->autoflush(1);
print $s "POST /line HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    . "Content-Length: 7\r\n\r\nr1\tone\n";
$t->wait_for(sub { drafts() }, 'a slot in the making');
sleep 2.5;
is(scalar(my @all = drafts()), 1, 'it is left alone');
unlink $hold;
ok(IO::Select->new($s)->can_read(10), 'it is made');
like(scalar(<$s>), qr/ 204 /, 'and takes lines');
ok($d->drain(sub { $d->lines == 1 }), 'which are shipped');
is($d->exactly("r1\tone"), '', 'once');

# its process dies then

my %was = map { $_ => 1 } $t->workers;

kill 'KILL', keys %was;
$t->wait_for(sub { 2 == grep { !$was{$_} } $t->workers }, 'new workers');
$t->write_file('hold', '');
$s = $t->connect;
$s->autoflush(1);
print $s "POST /line HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n"
    . "r1\ttwo\n";
$t->wait_for(sub { drafts() }, 'another in the making');
kill 'KILL', $t->workers;
unlink $hold;

my ($left) = drafts();
my $old = time - 3600;

ok($left, 'its directory is left behind');
utime $old, $old, $left;
$t->wait_for(sub { !-e $left }, 'when it is old it goes', 15);

done_testing();
