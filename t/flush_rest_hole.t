#!/usr/bin/perl

# The power that took the end of an edge's disk has damaged more of it: what
# the edge cannot send is taken from what was put aside, as far as it is there.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });

sub rest { $_[0]->redis->exists("usher:rest:$_[0]{id}") }
sub gaps { [ $t->rows('select from_position, to_position, reason
                       from usher.journal_gap where slot = ? order by 1',
                      $_[0]->id) ] }

# Five parts of four lines, of which the first is stored; those that are named
# are put aside.  Where each line begins.

sub slot {
    my %aside = map { $_ => 1 } 1, @_;
    my $slot = Usher::Slot->new($t);

    for (1 .. 5) {
        my $from = $slot->end;
        $slot->append($slot->requests(4));
        $slot->ship(from => $from) if $aside{$_};
        $t->wait_for(sub { $slot->stored }, 'a beginning') if $_ == 1;
    }

    my @line = (0);
    push @line, $line[-1] + length for split /^/, $slot->{bytes};

    return $slot, @line;
}

# What the edge sends, with a hole from one line to another.

sub sends {
    my ($slot, $line, $from, $to) = @_;

    $slot->takeup($line->[4], to => $line->[$from]);
    $slot->hole($line->[$from], $line->[$to], 'corrupt');
    $slot->ship if $to < 20;
}

my ($in, @in) = slot(3, 4, 5);
my ($part, @part) = slot(3, 4);
my ($gap, @gap) = slot(3, 5);
my ($told, @told) = slot(3);

# what is put aside may have one

$told->hole($told[12], $told[16], 'freed');
$told->ship;

my @slots = ($in, $part, $gap, $told);

$t->wait_for(sub { @slots == grep { rest($_) } @slots }, 'put aside', 20);
sends($in, \@in, 9, 14);
sends($part, \@part, 6, 17);
sends($gap, \@gap, 12, 16);
$told->takeup($told[4], to => $told[8]);
$told->close($told[8]);

$t->wait_for(sub { $in->stored }, 'all of the hole was aside', 20);
is_deeply(gaps($in), [], 'no gap');

$t->wait_for(sub { $part->stored($part[16]) }, 'a part of it', 20);
is_deeply(gaps($part), [ [ $part[6], $part[8], 'corrupt' ] ],
          'before that is a gap');
$t->wait_for(sub { !$part->redis->xlen($part->key) }, 'of the stream nothing');
$part->hole($part[16], $part[17], 'corrupt');
$part->ship;
$t->wait_for(sub { $part->stored }, 'the edge sends the rest', 20);
is_deeply(gaps($part), [ [ $part[6], $part[8], 'corrupt' ],
                         [ $part[16], $part[17], 'corrupt' ] ],
          'and after it');

$t->wait_for(sub { $gap->stored }, 'nothing of it was aside', 20);
is_deeply(gaps($gap), [ [ $gap[12], $gap[16], 'corrupt' ] ], 'all is a gap');

$t->wait_for(sub { $told->stored }, 'one that was put aside', 20);
is_deeply(gaps($told), [ [ $told[12], $told[16], 'freed' ] ], 'is a gap');

splice @{ $part->{ids} }, 16, 1;
splice @{ $part->{ids} }, 6, 2;
splice @{ $_->{ids} }, 12, 4 for $gap, $told;
is($_->once, '', 'each event is one row') for @slots;
$t->wait_for(sub { !$in->redis->exists('usher:rest') },
             'nothing is left aside');

# nor does one pass what nobody may look at

my ($blind, $other) = map { Usher::Slot->new($t) } 1, 2;

$_->append($_->requests(4))->ship for $blind, $other;
$t->wait_for(sub { $blind->stored && $other->stored }, 'two more');
$t->redis_cli('acl', 'setuser', 'default', '-smembers');
$t->wait_for(sub { $t->log_of('usherd') =~ /refuses usher:rest: NOPERM/ },
             'the set is refused');

my $from = $blind->end;

$blind->append($blind->requests(1));
$blind->hole($from, $blind->end, 'corrupt');
$other->append($other->requests(1))->ship;
$t->wait_for(sub { $other->stored }, 'others go on');
is_deeply(gaps($blind), [], 'no hole is passed');
$t->redis_cli('acl', 'setuser', 'default', '+smembers');
$t->wait_for(sub { @{ gaps($blind) } == 1 }, 'then it is a gap');

done_testing();
