#!/usr/bin/perl

# Two histories of a slot of which something was put aside: that does not come
# between while they are compared, and is kept until the fork is accepted.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => {
    usherd => { batch_age_ms => 20, lease_s => 2 } });

sub rest { $_[0]->redis->exists("usher:rest:$_[0]{id}") }
sub kept { scalar(() = $t->log_of('usherd') =~ /forked, .* is kept in/g) }

sub metric { ($t->metrics =~ /^usherd_$_[0]\{[^}]*\} (\d+)$/m)[0] // -1 }

# A rest, of which the edge has sent a part.

my $slot = Usher::Slot->new($t);
my @at;

for (1 .. 4) {
    $slot->append($slot->requests(4));
    push @at, $slot->end;
    $slot->{shipped} = $at[1] if $_ == 2;
    $slot->ship if $_ != 2;
    $t->wait_for(sub { $slot->stored }, 'a beginning') if $_ == 1;
}

my @line = (0);
push @line, $line[-1] + length for split /^/, $slot->{bytes};
my ($common, $middle) = @line[9, 10];

$t->wait_for(sub { rest($slot) }, 'put aside', 20);
$slot->takeup($at[0], to => $middle);
$t->wait_for(sub { $slot->stored($middle) }, 'the edge sends a part');

# another history, which is asked for from further back, and comes bit by bit

my $copy = Usher::Slot->new($t, id => $slot->id, unregistered => 1);

$copy->{bytes} = substr $slot->{bytes}, 0, $common;
$copy->append($copy->requests(1, route => '/a/longer/one/'));
my $next = $copy->end;
$copy->append($copy->requests(12));
cmp_ok($next, '>', $middle, 'a line of it lies over the position');
$copy->takeup($common);
$t->wait_for(sub { $slot->ack_is($at[0], 'r') },
             'what would tell is asked for');
$copy->takeup($at[0], to => $common);
$t->wait_for(sub { $slot->ack_is($common, 'r') }, 'it agrees so far');

for (1, 2) {
    my $nonce = ($slot->ack)[1];
    $t->wait_for(sub { ($slot->ack)[1] ne $nonce }, 'asked for again', 20);
}

ok($slot->ack_is($common, 'r'), 'the rest is no answer');
ok(!$slot->redis->exists($slot->key) || !$slot->redis->xlen($slot->key),
   'nor is it there');
$copy->takeup($common);
$t->wait_for(sub { $slot->ack_is($common, 'f') }, 'forked: to the line');
is($slot->position, $middle, 'nothing more was stored');

# the edge is through with it, and usherd may die

$t->wait_for(sub { kept() == 1 }, 'the rest is kept: said');
$slot->redis->hdel('usher:slots', $slot->id);
$slot->redis->del($slot->key);
$t->kill9('flush');
$t->wait_for(sub { kept() == 2 }, 'by another as well', 20);
is(metric('flush_slots_forked'), 1, 'the alarm stays');
is(metric('flush_slots_aside'), 1, 'and it is counted');
is($slot->redis->xlen("usher:rest:$slot->{id}"), 2, 'with all its entries');
is(kept(), 2, 'said once');

# accepted

$t->ctl("journal fork_accept slot=$slot->{id} reason=test");
$t->wait_for(sub { !rest($slot) && !$slot->redis->exists('usher:rest') },
             'accepted: it goes');
like($t->log_of('usherd'), qr/\Q$slot->{id}\E: its fork was accepted, what/,
     'and that is said');
$t->wait_for(sub { !$slot->redis->exists('usher:ack:' . $slot->id) },
             'and the last key', 15);

done_testing();
