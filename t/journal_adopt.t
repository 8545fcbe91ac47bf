#!/usr/bin/perl

# A slot whose process died is shipped to its end by another one, once, and
# retired.  Killed: a worker, the master with its worker, workers by reload.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=4m segment=128k retain=1s window=128k sync=off',
    server => ''), test_module => 1, workers => 2);

# a worker dies with most of its lines not shipped: the window is small, and
# nothing is acknowledged

my @lines = map { $d->feed(200, 500) } 1 .. 8;

is(scalar @lines, 1600, 'appended');
$t->wait_for(sub { $d->pull; $d->lines > 0 }, 'something was shipped');
cmp_ok(scalar $d->lines, '<', 1600, 'but not all');

my @old = $d->dirs;
my %pids = map { $_ => 1 } $t->workers;

kill 'KILL', keys %pids;
$t->wait_for(sub { 2 == grep { !$pids{$_} } $t->workers }, 'new workers');

ok($d->drain(sub { $d->lines == 1600 }), 'adopted and shipped to its end');
is($d->exactly(@lines), '', 'nothing lost, nothing twice');
like($t->error_log, qr/slot $_ adopted/, "adopted: $_") for @old;

ok($d->drain(sub { @old == grep { $d->slot($_)->{ended} } @old }),
   'end entries');
ok($d->drain(sub { !$d->dirs }), 'directories removed past retain');
ok($d->drain(sub { !$d->known }), 'and taken off the register');
$t->wait_for(sub { $t->redis_cli('keys usher:*') eq '' }, 'no key left');

# the master dies, and its workers with it

push @lines, map { $d->feed(200, 500) } 1 .. 8;

my @workers = $t->workers;

$t->kill9('master');
kill 'KILL', @workers;
sleep 0.1;
$t->start('nginx');

ok($d->drain(sub { $d->lines == 3200 }), 'adopted by the next master');
is($d->exactly(@lines), '', 'all of it, once');

# reload while lines come: old workers seal and leave, new ones go on

my $pid = fork // die;

if (!$pid) {
    my $ok = open my $fh, '>', "$t->{dir}/fed";
    for (1 .. 60) {
        print $fh map { "$_\n" } $d->feed(20, 300);
        sleep 0.03;
    }
    close $fh;
    require POSIX;
    POSIX::_exit(0);
}

for (1 .. 3) {
    sleep 0.4;
    ok($t->reload, 'reload');
}

waitpid $pid, 0;
push @lines, split /\n/, $t->slurp("$t->{dir}/fed");

cmp_ok(scalar @lines, '>', 4000, 'lines went in all the while');
ok($d->drain(sub { $d->lines >= @lines }), 'all shipped');
is($d->exactly(@lines), '', 'nothing lost or twice over reloads');

done_testing();
