# Events become rows, sums and a position, once, whatever is sent twice.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });


my $slot = Usher::Slot->new($t);

$slot->append($slot->requests(10, key_id => 7, bytes_sent => 100))->ship;
$slot->append($slot->requests(5, key_id => '\N', org_id => '\N'))->ship;
$slot->append($slot->requests(2, key_id => 7, status => 404))->ship;

$t->wait_for(sub { $slot->stored }, 'the position has reached the end');
is($slot->once, '', 'each event is one row');

is_deeply([ $t->rows('select key_id, org_id, status, sum(requests), '
                     . 'sum(bytes_sent) from usher.usage_total '
                     . 'group by 1, 2, 3 order by 1, 3') ],
          [ [ 0, 0, 200, 5, 6170 ], [ 7, 5, 200, 10, 1000 ],
            [ 7, 5, 404, 2, 2468 ] ], 'sums');

my ($chain) = $t->sql('select lpad(to_hex(chain), 16, ?) from usher.journal '
                      . 'where slot = ?', '0', $slot->id);
is($chain, $slot->chain($slot->end), 'the chain at the position');
is($t->sql('select node from usher.journal'), 'edge1', 'its node');
is($t->sql('select lines from usher.journal'), 17, 'lines are counted');
ok($t->sql('select count(*) from usher.journal_mark'), 'marks are made');

$t->wait_for(sub { $slot->ack_is($slot->end, 'o') }, 'acknowledged');
$t->wait_for(sub { !$slot->redis->xlen($slot->key) }, 'the stream is trimmed');


# sent again: whole, in part, and with more behind

my $first = $slot->end;

$slot->takeup(0);
$slot->append($slot->requests(3));
$slot->takeup(0);
$t->wait_for(sub { $slot->stored }, 'an overlapping resend is taken');
is($slot->once, '', 'what lay below the position was not stored again');

$slot->append($slot->requests(3));
my $mid = $slot->end;
$slot->append($slot->requests(3));
$slot->takeup($first, to => $mid);
$slot->ship(from => $mid);
$t->wait_for(sub { $slot->stored }, 'a resend from before the position');
is($slot->once, '', 'only its tail was stored');
is($t->sql('select sum(requests) from usher.usage_total'), 26, 'as the sums');
is($t->sql('select lines from usher.journal'), 26, 'and the lines');


# unique kinds

$slot->append($slot->hook('shop', 'a'), $slot->hook('shop', 'b'),
              $slot->hook('shop', 'a'))->ship;
$t->wait_for(sub { $slot->stored }, 'hooks are stored');
$slot->append($slot->hook('shop', 'b'), $slot->hook('bank', 'b'))->ship;
$t->wait_for(sub { $slot->stored }, 'hooks are sent twice');

is_deeply([ $t->rows('select source, delivery_id from usher.hook '
                     . 'order by 1, 2') ],
          [ [ 'bank', 'b' ], [ 'shop', 'a' ], [ 'shop', 'b' ] ],
          'one row each');
is($t->sql('select losers from usher.journal'), 2, 'losers are counted');

$slot->append("p1\tx\t1\t2\t\\\\x00ff\n")->ship;
$t->wait_for(sub { $slot->stored }, 'a part is stored');
is($t->sql('select n from usher.part'), 1, 'as it is');


# late and future events

$t->sql("update usher.usage_close set closed_until "
        . "= date_trunc('hour', now(), 'UTC') - interval '2 hours'");
$t->sql('delete from usher.usage_delta');
$slot->append($slot->requests(1, event_time => '2020-01-01 10:11:12.123+00'),
              $slot->requests(1, event_time => '2220-01-01 10:11:12.123+00'))
     ->ship;
$t->wait_for(sub { $slot->stored }, 'a late event is stored');
is($t->sql('select min(hour) = (select closed_until from usher.usage_close) '
           . 'from usher.usage_delta'), 1, 'it counts in the first open hour');
is($t->sql('select count(*) from usher.request '
           . "where event_time = '2020-01-01 10:11:12.123+00'"), 1,
   'and keeps its own time');
ok($t->sql("select max(hour) <= now() + interval '1 hour' "
           . 'from usher.usage_delta'), 'an event of the future is clamped');
ok($t->sql('select last_event <= now() from usher.journal'),
   'and does not close hours');


# the end

$slot->close;
$t->wait_for(sub { $slot->state eq 'ended' }, 'an end entry ends the slot');
$t->wait_for(sub { !$slot->redis->xlen($slot->key) },
             'and is trimmed as well');

# it was an older copy's

$slot->append($slot->requests(2))->ship;
$t->wait_for(sub { $slot->stored }, 'what comes after the end is taken');
is($slot->state, 'live', 'and the slot lives again');
$slot->close;
$t->wait_for(sub { $slot->state eq 'ended' }, 'and ends again');
$slot->redis->hdel('usher:slots', $slot->id);
$t->wait_for(sub { !$slot->redis->exists('usher:ack:' . $slot->id) },
             'and leaves nothing when its edge has retired it');
is($slot->once, '', 'in the end each event is one row');

done_testing();
