# Streams with gaps, holes, ends, damage and two histories.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });

my $gaps = 'select from_position, to_position, reason from usher.journal_gap '
           . 'where slot = ?';


# a gap is asked for, once per nonce, and never passed

my $slot = Usher::Slot->new($t);

$slot->append($slot->requests(4))->ship;
$t->wait_for(sub { $slot->stored }, 'a beginning');

my $p = $slot->end;
$slot->append($slot->requests(4));
$slot->{shipped} = $slot->end;
$slot->append($slot->requests(4))->ship;

$t->wait_for(sub { $slot->ack_is($p, 'r') }, 'a gap: a rewind is asked for');
my $nonce = ($slot->ack)[1];

sleep 2;
is(($slot->ack)[1], $nonce, 'with one nonce for a while');
$t->wait_for(sub { ($slot->ack)[1] ne $nonce },
             'and another when nothing came', 10);
is($slot->position, $p, 'time does not pass a gap');

$slot->takeup($p);
$t->wait_for(sub { $slot->stored }, 'the resend is taken');
$t->wait_for(sub { $slot->ack_is($slot->end, 'o') }, 'and acknowledged');
is($slot->once, '', 'each event is one row');
is_deeply([ $t->rows($gaps, $slot->id) ], [], 'no gap is left');


# Redis loses everything

$slot->append($slot->requests(3))->ship;
$t->wait_for(sub { $slot->stored }, 'more');
$slot->redis->flushall;
$t->wait_for(sub { $slot->ack_is($slot->end, 'o') },
             'after FLUSHALL the acknowledgement is stated again');
$slot->append($slot->requests(3));
$slot->takeup(0);
$t->wait_for(sub { $slot->stored }, 'and the stream taken up again');
is($slot->once, '', 'each event is one row');


# a hole is a gap that is told

my $from = $slot->end;
$slot->append($slot->requests(5));
splice @{ $slot->{ids} }, -5;
my $to = $slot->end;
$slot->hole($from, $to, 'corrupt');
$slot->append($slot->requests(2))->ship;
$t->wait_for(sub { $slot->stored }, 'a hole is passed');
is_deeply([ $t->rows($gaps, $slot->id) ], [ [ $from, $to, 'corrupt' ] ],
          'and is a row');
is($slot->once, '', 'all else is there once');

$slot->redis->del($slot->key);
$slot->hole($from, $to, 'corrupt');
$slot->append($slot->requests(1))->ship;
$t->wait_for(sub { $slot->stored }, 'the hole again, below the position');
is(scalar(() = $t->rows($gaps, $slot->id)), 1, 'is no second gap');


# a damaged entry is asked for once, then the slot stops

my $bad = Usher::Slot->new($t);

$bad->append($bad->requests(2))->ship;
$t->wait_for(sub { $bad->stored }, 'another slot');
$p = $bad->end;
$bad->append($bad->requests(3))->ship(count => 7);
$t->wait_for(sub { $bad->ack_is($p, 'r') }, 'a wrong count: asked for again');
$bad->takeup($p);
$t->wait_for(sub { $bad->stored }, 'the good resend is taken');
is($bad->once, '', 'each event is one row');

$p = $bad->end;
$bad->append($bad->requests(3));
(my $cut = substr $bad->{bytes}, $p) =~ s/\n\z/x/;
$bad->ship(data => $cut);
$t->wait_for(sub { $bad->ack_is($p, 'r') }, 'no end of line: asked again');
$bad->takeup($p, data => $cut);
$t->wait_for(sub { $bad->state eq 'stopped' }, 'damaged again: stopped');
is($bad->position, $p, 'where it was');


# a position in the midst of a line, by somebody's hand

my $odd = Usher::Slot->new($t);

$odd->append($odd->requests(2))->ship;
$t->wait_for(sub { $odd->stored }, 'one more');
$p = $odd->end;
$t->sql('update usher.journal set position = position + 7, rechain = true '
        . 'where slot = ?', $odd->id);
$odd->append($odd->requests(2))->ship;
$t->wait_for(sub { $odd->ack_is($p + 7, 'r') }, 'within a line: asked again');
$odd->takeup($p);
$t->wait_for(sub { $odd->state eq 'stopped' }, 'half a line is never taken');


# an event that this version does not know

my $new = Usher::Slot->new($t);

$new->append($new->requests(2))->ship;
$p = $new->end;
$new->append("z9\twhat\n")->ship;
$t->wait_for(sub { $new->state eq 'stopped' }, 'an unknown kind: stopped');
is($new->position, $p, 'before it');
like($t->sql('select reason from usher.journal where slot = ?', $new->id),
     qr/unknown kind of event at $p/, 'with the reason');

my $newer = Usher::Slot->new($t);
$newer->append($newer->requests(1))->ship(version => 2);
$t->wait_for(sub { $newer->state eq 'stopped' }, 'an unknown version: too');

$slot->append($slot->requests(2))->ship;
$t->wait_for(sub { $slot->stored }, 'none of them stops the others');


# the operator lets one go on

substr($new->{bytes}, $p) = '';
$t->sql("update usher.journal set state = 'live' where slot = ?", $new->id);
$new->append($new->requests(1));
$new->takeup($p);
$t->wait_for(sub { $new->stored }, 'a slot made live again goes on');
is($new->once, '', 'each event is one row');

like($t->log_of('usherd'), qr/\[alert\].*slot \Q$bad->{id}\E is stopped/,
     'the log says who is stopped');


# a database that refuses what flush asks first: said, and over when it is

$t->sql('alter table usher.lease rename to elsewhere');
$t->kill9('flush');
$t->wait_for(sub { $t->log_of('usherd') =~ /\[alert\].*cannot learn.*42P01/ },
             'the reason is said');
$t->sql('alter table usher.elsewhere rename to lease');
$slot->append($slot->requests(2))->ship;
$t->wait_for(sub { $slot->stored }, 'and it goes on', 20);

done_testing();
