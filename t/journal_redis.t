#!/usr/bin/perl

# Whatever happens to Redis, the stream is taken up again from what is
# acknowledged: FLUSHALL with a full window and nothing new, DEL of a stream,
# kill -9, SIGSTOP, refusals for want of memory, and a rewind.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=8m segment=128k retain=1h window=128k sync=off',
    server => ''), test_module => 1);

my @lines = map { $d->feed(200, 500) } 1 .. 5;

$t->wait_for(sub { $d->known }, 'registered');

my ($id) = $d->known;
my $key = "usher:ev:$id";

# the window: usherd is away

$t->wait_for(sub { $d->pull; $d->lines > 0 }, 'something is in Redis');
sleep 1;

my $bytes = 0;
$bytes += length { @{ $_->[1] } }->{d}
    for @{ $d->redis->xrange($key, '-', '+') };

cmp_ok($bytes, '<=', 128 * 1024, 'at most a window of it');
cmp_ok($bytes, '>', 60000, 'but not nothing');

# nothing new comes: only the edge can notice

$t->redis_cli('flushall');
$t->wait_for(sub { $d->redis->exists($key) }, 'taken up after FLUSHALL');
$t->wait_for(sub { $d->known }, 'and registered again');

ok($d->drain(sub { $d->lines == 1000 }), 'all of it comes');
is($d->exactly(@lines), '', 'once');

push @lines, map { $d->feed(100, 500) } 1 .. 2;
$t->wait_for(sub { $d->redis->xlen($key) }, 'more in the stream');
$t->redis_cli('del', $key);
ok($d->drain(sub { $d->lines == 1200 }), 'taken up after DEL');

# an entry taken out of the middle: from is above the position, usherd asks

push @lines, map { my @l = $d->feed(10, 500); sleep 0.1; @l } 1 .. 4;
$t->wait_for(sub { $d->redis->xlen($key) >= 3 }, 'several entries');
$d->redis->xdel($key, $d->redis->xrange($key, '-', '+')->[0][0]);
ok($d->drain(sub { $d->lines == 1240 }), 'a rewind is obeyed');
like($t->error_log, qr/is sent again from .* usherd asks/, 'and logged');

# Redis dies, without persistence

push @lines, $d->feed(50, 500);
$t->kill9('redis');
push @lines, map { $d->feed(50, 500) } 1 .. 4;
$t->start_redis;
ok($d->drain(sub { $d->lines == 1490 }), 'a new, empty Redis is filled');
is($d->exactly(@lines), '', 'with all that was not acknowledged');

# Redis hangs

$t->signal('redis', 'STOP');
push @lines, map { $d->feed(50, 500) } 1 .. 4;
sleep 1.5;
push @lines, map { $d->feed(50, 500) } 1 .. 4;
$t->signal('redis', 'CONT');
ok($d->drain(sub { $d->lines == 1890 }), 'and goes on after SIGSTOP');
is($d->exactly(@lines), '', 'nothing twice');

# Redis has no memory left: refused entries are no acknowledgements

my $asked = () = $t->error_log =~ /usherd asks/g;

$t->redis_cli('config set maxmemory-policy noeviction');
$t->redis_cli('config set maxmemory 1mb');
push @lines, map { $d->feed(50, 500) } 1 .. 4;
$t->wait_for(sub { $t->error_log =~ /refuses XADD/ }, 'refused');

# less than the window: it is open for what comes then

push @lines, map { $d->feed(10, 500) } 1 .. 4;
sleep 0.5;
$t->redis_cli('config set maxmemory 0');
push @lines, $d->feed(10, 500);
ok($d->drain(sub { $d->lines == 2140 }), 'all is sent when there is room');
is($d->exactly(@lines), '', 'without a gap');
is(() = $t->error_log =~ /usherd asks/g, $asked, 'and without being asked');
is(scalar(() = $d->slots), 1, 'of one slot');

done_testing();
