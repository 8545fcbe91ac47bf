#!/usr/bin/perl

# Blocks that cannot be read any more are an error and not a signal: it is
# tried for a while, then they are a hole, and the rest is shipped.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$t->redis;
$t->stop('redis');
$t->nginx(Usher::Drain->conf(server => '', journal =>
    'size=8m segment=64k retain=1h window=1m sync=off'), test_module => 1);

my @lines = map { my @l = $d->feed(20, 500); sleep 0.03; @l } 1 .. 20;
my ($slot) = $d->dirs;

kill 'KILL', $t->workers;
$t->wait_for(sub { $t->error_log =~ /slot $slot adopted/ }, 'adopted', 20);

# the disk loses the end of the first segment

my $file = "$t->{dir}/edge1/journal/$slot/00000001.seg";

truncate $file, 16384 or die "$file: $!";

my ($worker) = $t->workers;

$t->start('redis');
ok($d->drain(sub { $d->slot($slot)->{ended} }, 60), 'shipped to its end');
is(($t->workers)[0], $worker, 'the worker lives');
like($t->error_log, qr/segment 1 of slot $slot cannot be read/, 'it is said');
is(scalar(() = $t->error_log =~ /cannot be read/g), 1, 'once');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

my $s = $d->slot($slot);
my ($hole) = @{ $s->{holes} };

is(scalar @{ $s->{holes} }, 1, 'one hole');
is($s->{position}, 500 * @lines, 'to the end of what was there');

my $kept = join '', map { "$_\n" } @lines;

is(substr($s->{bytes}, $hole->[1]), substr($kept, $hole->[1]),
   'all that follows is there');
is(substr($s->{bytes}, 0, $hole->[0]), substr($kept, 0, $hole->[0]),
   'and all before it');

done_testing();
