#!/usr/bin/perl

# Who sends what lies before a rest has a part of it only, or more than that:
# nothing that is in the stream goes for what was put aside, nor is that passed.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });

sub free { !$_[0]->redis->exists($_[0]->key) }

sub rests {
    my @rests = $_[0]->redis->keys("usher:rest:$_[0]{id}*");

    return scalar @rests;
}

sub said {
    my ($slot, $from, $to) = @_;

    return scalar(() = $t->log_of('usherd') =~
                  /\Q$slot->{id}\E: nobody sends what .* $from to $to; its/g);
}

# Five parts of a history, the first of which is stored, and where they end.

sub slot {
    my $slot = Usher::Slot->new($t);
    my @at;

    for (1 .. 5) {
        $slot->append($slot->requests(2));
        $slot->ship if $_ == 1;
        push @at, $slot->end;
    }

    $t->wait_for(sub { $slot->stored($at[0]) }, 'a beginning');

    return $slot, @at;
}

my ($part, @p) = slot();
my ($more, @m) = slot();

$part->ship(from => $p[2], to => $p[3]);
$more->ship(from => $m[1], to => $m[3]);
$t->wait_for(sub { free($part) && free($more) }, 'put aside', 20);

# what lies before it comes from one who ends there, and more from another

$more->redis->multi;
$more->ship(from => $m[0], to => $m[1]);
$more->close($m[1]);
$more->ship(from => $m[3]);
$more->redis->exec;

# another part comes, below it, and one above it

$part->ship(from => $p[1], to => $p[2]);
$t->wait_for(sub { free($part) && rests($part) == 2 }, 'a part below', 20);
$part->ship(from => $p[3]);
$t->wait_for(sub { free($part) && rests($part) == 3 }, 'a part above', 20);
is(said($part, $p[0], $p[2]), 1, 'where it goes on is said');
is(said($part, $p[0], $p[1]), 2, 'and not what lies above that');

$t->wait_for(sub { $more->stored }, 'more: all is stored', 30);
is($more->once, '', 'each event is one row');

# what lies before it nobody has

$t->ctl("journal skip slot=$part->{id} to=$p[1] reason=gone");
splice @{ $part->{ids} }, 2, 2;
$t->wait_for(sub { $part->stored }, 'skipped: all else is stored', 30);
is($part->once, '', 'each event is one row');
$t->wait_for(sub { !$part->redis->exists('usher:rest') && !rests($part)
                   && !rests($more) }, 'nothing is left aside');

done_testing();
