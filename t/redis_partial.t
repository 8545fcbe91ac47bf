#!/usr/bin/perl

# A Redis that stops reading in the middle of an entry: the socket takes a part
# of the command, the rest follows when it reads again, byte for byte.  Then
# one that never reads again: half a command is no entry.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=32m segment=1m retain=1h window=16m sync=off',
    server => ''),
    test_module => 1);


# In entries of 64 KB, and more than a socket holds (208 KB by default).

sub burst { return $d->feed(2000, 300) }

my @lines = burst();
$t->wait_for(sub { $d->pull; $d->lines == @lines }, 'what comes first');

for (1 .. 3) {
    $t->signal('redis', 'STOP');

    my @more = burst();

    is(@more, 2000, 'appended while Redis reads nothing');
    sleep 1;
    $t->signal('redis', 'CONT');
    push @lines, @more;
    $t->wait_for(sub { $d->pull; $d->lines == @lines }, 'it reads again');
    is($d->exactly(@lines), '', 'each line once, and no other byte');
}

unlike($t->error_log, qr/stream\) is not available/, 'over one connection');

$t->signal('redis', 'STOP');
push @lines, burst();
sleep 1;
$t->kill9('redis');
$t->start('redis');
$t->wait_for(sub { $d->drain(sub { $d->lines == @lines }) },
             'sent again to another Redis');
is($d->exactly(@lines), '', 'each line once');

done_testing();
