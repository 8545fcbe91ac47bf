#!/usr/bin/perl

# Two who hold one slot.  In one directory the lock tells them apart: what
# lives in one nginx is nothing to another, and what died is.  A copy has a
# lock of its own, but leaves a stream that went further to who has more.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $dir = "$t->{dir}/edge1/journal";


sub conf {
    return Usher::Drain->conf(server => '', journal => 'size=8m segment=64k '
        . 'window=1m sync=off retain=1h', @_);
}

$t->redis;
$t->nginx(conf(), test_module => 1);

my @lines = $d->feed(50, 500);

$t->wait_for(sub { $d->known == 1 }, 'a slot');

my ($one) = $d->known;

# a second nginx in the same directory

$t->nginx(conf(path => $dir), name => 'edge2', test_module => 1);

my $two = $t->on('edge2');
my $d2 = Usher::Drain->new($two);

push @lines, $d2->feed(50, 500);
$t->wait_for(sub { $d->known == 2 }, 'it has a slot of its own');

my ($other) = grep { $_ ne $one } $d->known;

sleep 2.5;
push @lines, $d->feed(50, 500), $d2->feed(50, 500);
ok($d->drain(sub { $d->lines == @lines }), 'both go on');
is($d->exactly(@lines), '', 'each line once');
unlike($t->error_log . $two->error_log, qr/adopted/, 'neither takes the '
       . 'other one\'s');
ok(!$d->slot($one)->{ended} && !$d->slot($other)->{ended}, 'nor ends it');

# it dies: now its slot is nobody's

push @lines, $d->feed(50, 500);
my @pids = $t->workers;
$t->kill9('nginx');
kill 'KILL', @pids;
ok($d->drain(sub { $d->slot($one)->{ended} }), 'what died is shipped');
like($two->error_log, qr/slot $one adopted/, 'by the other');
is($d->exactly(@lines), '', 'each line once');

# a copy, of a moment ago: the stream has more, and nothing is stored of it

push @lines, $d2->feed(50, 500);
ok($d->drain(sub { $d->lines == @lines }), 'stored');
mkdir "$t->{dir}/edge3";
mkdir "$t->{dir}/edge3/journal";
system('cp', '-a', "$dir/$other", "$t->{dir}/edge3/journal/") == 0 or die;
push @lines, map { my @l = $d2->feed(50, 500); sleep 0.05; @l } 1 .. 3;


sub last_id {
    my %info = @{ $d->redis->xinfo('stream', "usher:ev:$other") };

    return $info{'last-generated-id'};
}

sub takeups { $t->redis_cli('info', 'commandstats') =~ /_multi:calls=(\d+)/;
              return $1 // 0 }

my $end = $d->slot($other)->{position} + 500 * 150;
$t->wait_for(sub { last_id() eq "$end-0" }, 'the stream has more');

my $takeups = takeups();

$t->nginx(conf(), name => 'edge3', test_module => 1);
$t->wait_for(sub { $t->on('edge3')->error_log =~ /slot $other adopted/ },
             'the copy has no owner');
sleep 3.5;
is(takeups(), $takeups, 'it takes nothing up');
is(last_id(), "$end-0", 'the stream stays as it is');
like($t->on('edge3')->error_log, qr/stream of slot $other goes to $end, /,
     'which is said');
ok($d->drain(sub { $d->lines == @lines }), 'who has more goes on');
is($d->exactly(@lines), '', 'each line once');

done_testing();
