#!/usr/bin/perl

# A waiting event is answered when a sync that covers it has passed, and not
# before; one sync serves all who wait; who went away is no harm, a reload
# waits; a sync that fails is told.  fdatasync() is held and broken by a library
# of the test.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Test::Process 'alive';
use IO::Select;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

plan(skip_all => 'its library does not go with a sanitizer') if $t->san;

my $dir = "$t->{dir}/sync";
mkdir $dir;
chmod 0777, $dir;

$t->write_file('sync.c', <<"C");
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

int
fdatasync(int fd)
{
    int log = open("$dir/log", O_WRONLY|O_CREAT|O_APPEND, 0666);

    if (write(log, "sync\\n", 5) != 5) {
        return -1;
    }

    close(log);

    while (access("$dir/hold", F_OK) == 0) {
        usleep(1000);
    }

    if (access("$dir/fail", F_OK) == 0) {
        errno = EIO;
        return -1;
    }

    return syscall(SYS_fdatasync, fd);
}
C

my $so = "$t->{dir}/sync.so";

system('cc', '-shared', '-fPIC', '-o', $so, "$t->{dir}/sync.c") == 0
    or die 'cc';
chmod 0755, $so;


sub touch { open my $fh, '>', "$dir/$_[0]" or die; close $fh; }
sub syncs { scalar(() = $t->slurp("$dir/log") =~ /\n/g) }


# A hook on a connection of its own; readable when it is answered.

sub hook {
    my ($id, $body) = @_;

    my $s = $t->connect;
    my $len = length $body;

    $s->autoflush(1);
    print $s "POST /hook?id=$id HTTP/1.1\r\nHost: localhost\r\n"
        . "Connection: close\r\nContent-Length: $len\r\n\r\n$body";

    return $s;
}


sub answered { IO::Select->new($_[0])->can_read($_[1] // 0) ? 1 : 0 }


sub status {
    my ($s) = @_;

    return 0 if !answered($s, 10);
    sysread $s, my $text, 65536;
    return $text =~ m{^HTTP/1.1 (\d+)} ? $1 : -1;
}

$t->redis;

{
    local $ENV{LD_PRELOAD} = $so;
    $t->nginx(Usher::Drain->conf(
        journal => 'size=8m segment=256k window=1m sync=1h',
        server => 'location = /hook { usher_test_hook acme; }'),
        test_module => 1);
}

is(status(hook('one', 'body')), 204, 'a hook is answered');
cmp_ok(syncs(), '>=', 1, 'after a sync');

# a reload: who waits is answered before the old worker goes

touch('hold');

my $before = syncs();
my $first = hook('open', 'body');

$t->wait_for(sub { syncs() > $before }, 'one waits');

my ($old) = $t->workers;

ok($t->reload, 'a reload');
$t->wait_for(sub { $t->error_log =~ / $old#\d+: gracefully shutting down/ },
             'the old worker is to go');
sleep 0.3;
ok(alive($old), 'not yet');
unlink "$dir/hold";
is(status($first), 204, 'who waited is answered');
$t->wait_for(sub { !alive($old) }, 'and it has gone');

# held: nobody is answered; then one more sync serves all who came meanwhile

touch('hold');
$before = syncs();
$first = hook('first', 'body');
$t->wait_for(sub { syncs() > $before }, 'a sync is under way');

my @more = map { hook("more$_", 'body') } 1 .. 10;
my $gone = hook('gone', 'body');

sleep 0.5;
ok(!answered($first), 'not answered before it has passed');
ok(!grep({ answered($_) } @more), 'nor are those who came after');

is(($d->feed(1))[0] ? 1 : 0, 1, 'a line that does not wait is taken');

close $gone;
sleep 0.2;

$before = syncs();
unlink "$dir/hold";

is(status($first), 204, 'answered when it has passed');
is_deeply([map { status($_) } @more], [(204) x 10], 'and the others');
is(syncs() - $before, 1, 'by one more sync');

ok($d->drain(sub { $d->lines == 15 }), 'all of them were journalled');

# it fails

touch('fail');
is(status(hook('bad', 'body')), 500, 'a sync that fails is told');
like($t->error_log, qr/\[crit\].*sync failed/, 'and logged');
unlink "$dir/fail";
is(status(hook('good', 'body')), 204, 'it goes on');
like($t->error_log, qr/sync works again/, 'and says so');

# a body in parts, before the event that closes it

my $body = join '', map { chr $_ % 256 } 1 .. 200_000;

is(status(hook('large', $body)), 204, 'a large body');
ok($d->drain(sub { grep { /^h1\tacme\tlarge\t/ } $d->lines }), 'is closed');

my @parts = grep { /^p1\tlarge\t/ } $d->lines;
my ($close) = grep { /^h1\tacme\tlarge\t/ } $d->lines;
my $text = join '', map { pack 'H*', (split /\t/)[4] =~ s/^\\\\x//r } @parts;

cmp_ok(scalar @parts, '>', 3, 'in parts');
ok(!grep({ length > 65536 } @parts), 'each at most a quarter of a segment');
is((split /\t/, $close)[7], scalar @parts, 'their number is in its event');
ok($text eq $body, 'and they are the body');

# segments that were left between two syncs are covered by the next

$before = syncs();
push @more, map { $d->feed(200, 2000) } 1 .. 3;
is(status(hook('after', 'body')), 204, 'after some segments');
cmp_ok(syncs() - $before, '>=', 3, 'each was synced');

# sync=off cannot keep the promise

my ($code, $said) = $t->nginx_test(Usher::Drain->conf(
    journal => 'sync=off',
    server => 'location = /hook { usher_test_hook acme; }'),
    test_module => 1);

isnt($code, 0, 'sync=off with a waiting kind is refused');
like($said, qr/must not have sync=off/, 'and why');

done_testing();
