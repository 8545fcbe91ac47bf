#!/usr/bin/perl

# A stream that begins above the position, and nobody answers: it is put aside,
# and comes back when that harms nobody.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });


sub rest { $_[0]->redis->exists("usher:rest:$_[0]{id}") }


# Lines that are not in the stream, and lines above them that are; where each
# of the two begins.

sub gap {
    my ($slot) = @_;

    $slot->append($slot->requests(4))->ship;
    $t->wait_for(sub { $slot->stored }, 'a beginning');

    my $from = $slot->end;

    $slot->append($slot->requests(3));
    my $to = $slot->{shipped} = $slot->end;
    $slot->append($slot->requests(1))->ship;
    $slot->append($slot->requests(2))->ship;

    return ($from, $to);
}

my $slot = Usher::Slot->new($t);
my $skipped = Usher::Slot->new($t);
my ($from, $to) = gap($slot);
my ($lost, $next) = gap($skipped);
my $short = Usher::Slot->new($t);
my ($end, $more) = gap($short);

$t->wait_for(sub { rest($slot) && rest($skipped) && rest($short) },
             'put aside', 20);
ok(!$slot->redis->exists($slot->key), 'the stream is free');
$t->wait_for(sub { $t->metrics =~ /^usherd_flush_slots_aside\S* 3$/m },
             'and counted');
like($t->log_of('usherd'), qr/\Q$slot->{id}\E: nobody sends .* $from to $to/,
     'and said');

# who has it all sends it; the rest would be in its way

my $middle = $to + 1 + index substr($slot->{bytes}, $to), "\n";

$slot->takeup($from, to => $middle);
$t->wait_for(sub { $slot->stored($middle) }, 'the edge sends again');
sleep 2;
is($slot->redis->exists($slot->key) && $slot->redis->xlen($slot->key), 0,
   'nothing is added while it sends');
ok(rest($slot), 'it is there');
$slot->ship;
$t->wait_for(sub { $slot->stored }, 'to its end');
$t->wait_for(sub { !rest($slot) }, 'then the rest goes');
is($slot->once, '', 'each event is one row');

# nobody has it: the operator says so

is($skipped->position, $lost, 'time does not pass a gap');
$t->ctl("journal skip slot=$skipped->{id} to=$next reason=gone");
splice @{ $skipped->{ids} }, 4, 3;
$t->wait_for(sub { $skipped->stored }, 'skipped: the rest is added');
is($skipped->once, '', 'each event is one row');

# nor has the edge, which has sent its end

$short->redis->xadd($short->key, "$end-1", v => 1, f => $end, e => 1);
$t->wait_for(sub { $t->log_of('usherd') =~ /nothing from $end to $more/ },
             'its edge has less: said');
is($short->state, 'live', 'it is live again');
$t->ctl("journal skip slot=$short->{id} to=$more reason=gone");
splice @{ $short->{ids} }, 4, 3;
$t->wait_for(sub { $short->stored }, 'skipped as well', 20);
is($short->once, '', 'each event is one row');
$t->wait_for(sub { !rest($skipped) && !$slot->redis->scard('usher:rest') },
             'nothing is left aside');

# who sends stops in its midst, and says no end

my $half = Usher::Slot->new($t);
my ($begin, $above) = gap($half);

$t->wait_for(sub { rest($half) }, 'put aside', 20);
$half->takeup($begin, to => $above + 1 + index substr($half->{bytes}, $above),
              "\n");
$t->wait_for(sub { $half->stored($half->{shipped}) }, 'a part is sent');
$t->wait_for(sub { $half->stored }, 'the rest is added in a while', 20);
is($half->once, '', 'each event is one row');
$t->wait_for(sub { !rest($half) }, 'and goes');

# what Redis does not tell is no reason to delete

my $hidden = Usher::Slot->new($t);

gap($hidden);
$t->wait_for(sub { rest($hidden) }, 'put aside', 20);
$t->redis_cli('acl', 'setuser', 'default', '-xrange');
$t->wait_for(sub { $t->log_of('usherd') =~ /\Q$hidden->{id}\E.*NOPERM/ },
             'refused: said', 20);
sleep 1;
ok(rest($hidden), 'and it is there');
$t->redis_cli('acl', 'setuser', 'default', '+xrange');
is(scalar(() = $t->log_of('usherd') =~ /NOPERM/g), 1, 'said once');
$t->redis_cli('acl', 'setuser', 'default', '-smembers');
$t->wait_for(sub { $t->log_of('usherd') =~ /refuses usher:rest: NOPERM/ },
             'nor the set of them: said');
$t->redis_cli('acl', 'setuser', 'default', '+smembers');
$t->wait_for(sub { $t->metrics =~ /^usherd_flush_slots_aside\S* 1$/m },
             'one is aside');

done_testing();
