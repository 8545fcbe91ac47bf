# What is sent twice in good faith, by a network that repeats its postback, is
# one row, wherever the second comes in; the other is counted.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;


# One slot's own count of those that were rows already.

sub losers { $t->sql('select losers from usher.journal where slot = ?',
                     $_[0]->id) }

sub rows { $t->sql('select count(*) from usher.conversion_event') }


my ($one, $two) = map { Usher::Slot->new($t) } 1 .. 2;

# twice in one batch, by two slots, before usherd is there

sub at { (event_time => "2026-02-01 10:0$_[0]:00.000+00") }

$one->append($one->conversion('t8', at(2)), $one->conversion('t9', at(1)));
$two->append($two->conversion('t8', at(1)), $two->conversion('t9', at(2)));
$one->append($one->conversion('t1', status => 'pending'),
             $one->conversion('t1', status => 'pending'),
             $one->conversion('t1', status => 'approved'),
             $one->conversion('t1', status => 'pending', postback_id => 2))
    ->ship;
$two->append($two->requests(3), $two->conversion('t2', amount => '1.50'),
             $two->conversion('t1', status => 'approved'))->ship;

$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });
$t->wait_for(sub { $one->stored && $two->stored }, 'one batch of two slots');

is_deeply([ $t->rows('select postback_id, transaction_id, status '
                     . "from usher.conversion_event
                        where transaction_id < 't8' order by 1, 2, 3 desc") ],
          [ [ 1, 't1', 'pending' ], [ 1, 't1', 'approved' ],
            [ 1, 't2', '' ], [ 2, 't1', 'pending' ] ],
          'the same word of a transaction is one row');
is(losers($one) + losers($two), 4, 'losers are counted');
is($t->sql('select count(*) from usher.conversion_event
            where transaction_id ~ $$t[89]$$ and event_time = ?', (at(1))[1]),
   2, 'of a batch the first that was said');
is($t->sql('select amount from usher.conversion_event '
           . "where transaction_id = 't2'"), '1.50', 'text stays text');

# again, in a batch of its own, of the same slot and of another

my $losers = losers($one);
$one->append($one->conversion('t1', status => 'pending'))->ship;
$t->wait_for(sub { $one->stored }, 'another batch');
is(losers($one), $losers + 1, 'the row was there');

$two->append($two->conversion('t1', status => 'pending'),
             $two->conversion('t3'))->ship;
$t->wait_for(sub { $two->stored }, 'another slot');
is(rows(), 7, 'and only what is new is stored');

# the slot itself sends again what it sent

my $all = losers($two);
$two->takeup(0);
$two->append($two->conversion('t4'))->ship;
$t->wait_for(sub { $two->stored }, 'a slot that is sent again');
is(losers($two), $all, 'its lines are below the position, not losers');
is(rows(), 8, 'and no rows');

# poison beside them: the same, slot by slot

$one->append($one->requests(120), $one->conversion('t5'),
             $one->conversion('t6', address => 'nowhere'),
             $one->conversion('t5'), $one->conversion('t4'))->ship;
$t->wait_for(sub { $one->stored }, 'a batch with poison');
is(rows(), 9, 'one row of it is new');
is($t->sql('select kind from usher.quarantine'), 'v1', 'one is in quarantine');
is(losers($one), $losers + 3, 'and two were there');

my $v = $t->ctl('journal verify');
is_deeply($v->{problems}, [ '1 events in quarantine' ], 'all adds up');
is("$v->{rows}{conversion} $v->{unique_losers} $v->{missing}", '9 8 0',
   'rows and losers together are the lines');

# what was refused comes twice from quarantine

$t->sql("update usher.quarantine set line = convert_to(?, 'UTF8')",
        $one->conversion('t6'));
is($t->ctl('quarantine retry slot=' . $one->id)->{stored}, 1, 'mended');
$t->sql("insert into usher.quarantine (slot, position, kind, line, reason)
         values (?, 1, 'v1', convert_to(?, 'UTF8'), 'bad')", $one->id,
        $one->conversion('t6'));
$t->sql('update usher.journal set lines = lines + 1 where slot = ?', $one->id);
is($t->ctl('quarantine retry slot=' . $one->id)->{duplicates}, 1,
   'and is a row once');
ok($t->ctl('journal verify')->{ok}, 'it still adds up');

done_testing();
