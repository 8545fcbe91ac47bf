#!/usr/bin/perl

# A slot that ends below what PostgreSQL has: the power went before its last
# lines were synced, or it is an older copy.  It is kept for retain, and sent
# again when PostgreSQL goes back, whichever of the two comes up first.  An own
# slot below PostgreSQL is of a machine that was set back: it stays on disk.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $dir = "$t->{dir}/edge1/journal";

$t->expect_alerts(qr/two histories|exited on signal 9/);


sub conf {
    return Usher::Drain->conf(server => '',
        journal => "size=8m segment=64k window=1m sync=off retain=$_[0]");
}


sub state {
    my ($id, $position) = @_;

    $d->redis->set("usher:ack:$id", sprintf '%d %016x o', $position, 0);
}


# The disk is as it was before the last lines.

sub power_loss {
    my @pids = $t->workers;

    $t->kill9('master');
    kill 'KILL', @pids;
    sleep 0.1;
    system('rm', '-rf', $dir) == 0 or die 'rm';
    system('cp', '-a', "$t->{dir}/synced", $dir) == 0 or die 'cp';
}

$t->redis;
$t->nginx(conf('1h'), test_module => 1);

my @lines = map { my @l = $d->feed(10, 500); sleep 0.05; @l } 1 .. 5;

ok($d->drain(sub { $d->lines == 50 }), 'stored');

my ($id) = $d->slots;

system('cp', '-a', $dir, "$t->{dir}/synced") == 0 or die 'cp';
$d->feed(50, 500);
ok($d->drain(sub { $d->lines == 100 }), 'and what the disk will lose');
power_loss();

# the edge comes up first, then an older PostgreSQL

$t->start('nginx');
$t->wait_for(sub { $t->error_log =~ /ends at 25000, PostgreSQL is at 50000/ },
             'it is seen to be a copy');
sleep 2.5;
is(scalar(() = $t->error_log =~ /it is a copy/g), 1, 'and said so once');
is_deeply([ $d->dirs ], [ $id ], 'but kept, as any that is stored');

$d->ack(at => 10_000);
ok($d->drain(sub { $d->slot($id)->{ended} }, 20),
   'PostgreSQL goes back: it is sent');
is($d->exactly(@lines), '', 'as far as the disk has it');
like($t->error_log, qr/taken up from 10000, up to 25000/, 'and said');

# PostgreSQL is up first: it lacks what the stream had long ago

$t->stop('nginx');
$d->slot($id)->{ended} = 0;
$d->ack(at => 10_000);
$d->redis->xtrim("usher:ev:$id", 'MAXLEN', 0);
$d->redis->xsetid("usher:ev:$id", '50000-0');
$t->start('nginx');
ok($d->drain(sub { $d->slot($id)->{ended} }, 20),
   'an empty stream is left to others only so long');
is($d->exactly(@lines), '', 'each line once');

# past retain it goes, and leaves the keys to whoever has more

state($id, 50_000);
$t->nginx_conf(conf('1s'), test_module => 1);
ok($t->reload, 'retain is a second');
$t->wait_for(sub { !$d->dirs }, 'past retain the copy is retired', 15);
ok($d->redis->exists("usher:ev:$id") && $d->redis->exists("usher:ack:$id"),
   'its keys are left alone');

# the machine was set back, and its process lives on

$d->feed(10, 500);
$t->wait_for(sub { $d->known > 1 }, 'an own slot');

my ($own) = grep { $_ ne $id } $d->known;

state($own, 999_999);
$t->wait_for(sub { $t->error_log =~ /slot $own is at 5000.*two histories/ },
             'an own slot below PostgreSQL is left');
is(scalar $d->feed(10, 500), 10, 'appending goes on');
$t->wait_for(sub { $d->dirs == 2 }, 'in a new slot');

my ($new) = grep { $_ ne $own } $d->dirs;

kill 'KILL', $t->workers;
$t->wait_for(sub { $t->error_log =~ /slot $new adopted/ }, 'that is adopted');
sleep 2.5;
unlike($t->error_log, qr/slot $own adopted/, 'the one that was left is not');
ok(-s "$dir/$own/00000001.seg", 'and stays on disk');

done_testing();
