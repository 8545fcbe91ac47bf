#!/usr/bin/perl

# What was put aside is of another history than what its edge sends: the edge
# is asked, agrees with all that is stored, and so it is the rest that differs.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });

my $slot = Usher::Slot->new($t);
my @at;

for (1, 2) {
    $slot->append($slot->requests(4));
    push @at, $slot->end;
    $slot->ship if $_ == 1;
    $t->wait_for(sub { $slot->stored }, 'a beginning') if $_ == 1;
}

# of the same length up to there

my $copy = Usher::Slot->new($t, id => $slot->id, unregistered => 1);

$copy->{bytes} = $slot->{bytes} =~ s/192\.0\.2\.1\t/192.0.2.2\t/gr;
is($copy->end, $at[1], 'another history');
$copy->append($copy->requests(4))->ship(from => $at[1]);
$t->wait_for(sub { $slot->redis->exists("usher:rest:$slot->{id}") },
             'put aside', 20);
$slot->takeup($at[0]);
$slot->close;
$t->wait_for(sub { $slot->stored }, 'the edge sends to its end');
$t->wait_for(sub { ($slot->ack)[2] eq 'r' }, 'two histories: it is asked', 20);

# it may be asked more than once

my %asked;

sub answered {
    my ($from, $nonce, $state) = $slot->ack;

    if ($state eq 'r' && !$asked{$nonce}++) {
        $slot->takeup($from) if $from < $at[1];
        $slot->close;
    }

    return $slot->ack_is($at[1], 'f');
}

$t->wait_for(\&answered, 'it agrees: forked', 40);
is($slot->once, '', 'each event of the edge is one row');
is($slot->redis->xlen("usher:rest:$slot->{id}"), 1, 'the other is kept');

done_testing();
