#!/usr/bin/perl

# What holds up a slot of which something is put aside, or should be, passes,
# or is told: lines that are stored and still in the stream, a gap or damage in
# what was put aside.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => {
    usherd => { batch_age_ms => 20, lease_s => 2 } });

sub rest { $_[0]->redis->exists("usher:rest:$_[0]{id}") }
sub free { !$_[0]->redis->exists($_[0]->key) }

# Parts of a history, and where each ends; those that are named are shipped.

sub parts {
    my ($slot, $n, %ship) = @_;
    my @at = $slot->end;

    for my $i (1 .. $n) {
        $slot->append($slot->requests(2));
        push @at, $slot->end;
        $slot->{shipped} = $at[$i - 1];
        $slot->ship if $ship{$i};
    }

    return @at;
}

sub beginning {
    my ($slot) = @_;

    parts($slot, 1, 1 => 1);
    $t->wait_for(sub { $slot->stored }, 'a beginning');
}

sub lag { ($t->metrics =~ /^usherd_flush_lag_ms\S* (\d+)$/m)[0] // 0 }

# what is stored is still in the stream: a flush died before it trimmed it

my ($stored, $ended) = map { Usher::Slot->new($t) } 1, 2;

$t->redis_cli('acl', 'setuser', 'default', '-xtrim');
beginning($stored);
beginning($ended);
$ended->close;
$t->wait_for(sub { $ended->state eq 'ended' }, 'and an end');
ok($_->redis->xlen($_->key), 'which are there still')
    for $stored, $ended;
parts($_, 2, 2 => 1) for $stored, $ended;
$t->wait_for(sub { rest($stored) && free($stored) }, 'stored: put aside', 20);
$t->wait_for(sub { rest($ended) && free($ended) }, 'ended: put aside', 20);
$t->redis_cli('acl', 'setuser', 'default', '+xtrim');

# nobody sends, and usherd knows no more of what it asked for

$t->kill9('usherd');
$t->start('usherd');
$t->wait_for(sub { lag() > 4000 }, 'behind, as long as something is aside',
             20);

# a gap in what was put aside; who has what is missing finds no stream

my $gap = Usher::Slot->new($t);

beginning($gap);

my @at = parts($gap, 5, 2 => 1, 3 => 1, 5 => 1);

$t->wait_for(sub { rest($gap) && free($gap) }, 'a gap: put aside', 20);
$gap->takeup($at[0], to => $at[1]);
$gap->close($at[1]);
$t->wait_for(sub { $gap->stored($at[3]) }, 'up to the gap', 20);
$t->wait_for(sub { free($gap) }, 'the stream is free again', 20);
ok(rest($gap), 'and what follows is there');
$gap->takeup($at[3], to => $at[4]);
$t->wait_for(sub { $gap->stored && !rest($gap) }, 'it is sent: all is stored',
             20);
is($gap->once, '', 'each event is one row');

# damage in what was put aside, and nobody to send it again

my $bad = Usher::Slot->new($t);

beginning($bad);
@at = parts($bad, 3);
$bad->ship(from => $at[1], to => $at[2], count => 7);
$bad->ship(from => $at[2]);
$t->wait_for(sub { rest($bad) }, 'damage: put aside', 20);
$bad->takeup($at[0], to => $at[1]);
$bad->close($at[1]);
$t->wait_for(sub { $bad->state eq 'stopped' }, 'it stops', 40);
$t->ctl("journal skip slot=$bad->{id} to=$at[2] reason=gone");
splice @{ $bad->{ids} }, 4, 2;
$t->wait_for(sub { $bad->stored && !rest($bad) },
             'skipped: all else is stored', 20);
is($bad->once, '', 'each event is one row');

done_testing();
