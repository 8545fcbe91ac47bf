#!/usr/bin/perl

# A slot whose process died is retired when all of it is acknowledged and
# retain has passed, and not before, however long that takes; a wiped end entry
# is sent again.  Its clock runs fast.

use lib 't/lib';
use Usher::Test;
use Usher::Clock;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;

plan(skip_all => 'its library does not go with a sanitizer') if $t->san;

my $d = Usher::Drain->new($t);

$t->redis;

{
    local $ENV{LD_PRELOAD} = faster($t, 20);
    $t->nginx(Usher::Drain->conf(server => '', journal =>
        'size=8m segment=64k retain=1s window=1m sync=off'), test_module => 1);
}


sub ended { $d->pull; $d->slot($_[0])->{ended} }

my @lines = map { $d->feed(20, 500) } 1 .. 10;

$t->wait_for(sub { $d->known }, 'a slot');

my ($id) = $d->known;

kill 'KILL', $t->workers;
$t->wait_for(sub { ended($id) }, 'adopted, and shipped to its end', 20);

# its minute is more than what retain and a grace would be

sleep 3;
is_deeply([ $d->dirs ], [ $id ], 'not acknowledged: it stays');
unlike($t->error_log, qr/retired/, 'and is not retired');

# a part of it

$d->ack(at => 50_000, keep => 1);
$t->wait_for(sub { ended($id) && $d->lines == 200 }, 'the rest is there', 20);
sleep 3;
is_deeply([ $d->dirs ], [ $id ], 'acknowledged in part: it stays');

# all of it, and wiped before anybody has read the end

$d->ack(at => 100_000, keep => 1);
sleep 0.5;
$t->redis_cli('flushall');
$d->slot($id)->{ended} = 0;
$d->ack(at => 100_000, keep => 1);
ok($d->drain(sub { $d->slot($id)->{ended} }, 30), 'wiped: the end is told again');
is($d->exactly(@lines), '', 'each line once');
ok($d->drain(sub { !$d->dirs }, 30), 'acknowledged: it is retired');
like($t->error_log, qr/slot $id retired at 100000/, 'at its end');
$t->wait_for(sub { $t->redis_cli('keys usher:*') eq '' }, 'no key left');

done_testing();
