# The database's clock jumps a year ahead, and comes back: it has taken
# nothing for old that the edges' events do not say is old.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->sql('set client_min_messages = error');


sub at     { $t->sql('select ?::timestamptz + ?::interval', @_) }
sub closed { $t->sql('select closed_until from usher.usage_close') }
sub take   { $t->sql('select usher.lease_take(?, ?, ?)', @_) }


# Seen from the events' time, the clock is a year ahead.

my $event = $t->sql("select date_trunc('hour', now() - interval '365 days')");

$t->sql("insert into usher.journal (slot, state, last_event)
         select gen_random_uuid(), s, ?::timestamptz
         from unnest(array['live', 'ended']) s", $event);
$t->sql("select usher.partition_ensure('request', d::date)
         from unnest(array[?::timestamptz, ?]) d", at($event, '-89 days'),
        at($event, '-92 days'));

is($t->sql('select usher.moment()'), at($event, '1 day'),
   'it is at most a day later than the newest event');
is($t->sql('select usher.partition_retention()'), 1,
   'a day is dropped that is old by the events');
is($t->sql("select count(*) from pg_inherits
            where inhparent = 'usher.request'::regclass
                  and inhrelid::regclass::text ~ ?",
           $t->sql("select to_char(?::timestamptz at time zone 'UTC',
                                   'YYYYMMDD')", at($event, '-89 days'))), 1,
   'and one that is not stays');

is($t->sql('select usher.usage_closable(clock_timestamp())'), $event,
   'an hour is closed at most up to the newest event');
$t->sql("insert into usher.journal_mark
         select slot, n, n, ?::timestamptz - n * interval '1 minute'
         from usher.journal, generate_series(1, 5) n", $event);
$t->sql('select usher.keep_prune()');
is($t->sql('select count(*) from usher.journal_mark'), 10,
   'marks of this week stay');
$t->sql("update usher.journal_mark set at = at - interval '8 days'");
$t->sql('select usher.keep_prune()');
is($t->sql('select count(*) from usher.journal_mark'), 2,
   'older ones go, but for the newest of each');
$t->sql('delete from usher.journal_mark');

$t->sql('delete from usher.journal');
is($t->sql('select usher.usage_closable(?)', at($event, '25 hours')),
   at($event, '24 hours'), 'without a journal it is the clock');

# what it closed before is opened again

my $ahead = $t->sql("select date_trunc('hour', now() + interval '365 days')");

$t->sql('update usher.usage_close set closed_until = ?', $ahead);
$t->sql("insert into usher.usage_delta
         select date_trunc('hour', now()), 1, 1, '/', 200, 7, 7, 70, 7");
$t->sql('select usher.keep_fold()');
is(closed(), $t->sql('select usher.usage_closable(now())'),
   'an hour ahead of the clock does not stay closed');
$t->sql("insert into usher.usage_delta
         select date_trunc('hour', now()), 1, 1, '/', 200, 4, 4, 40, 4");
is($t->sql('select sum(requests) from usher.usage_total'), 11,
   'what was folded meanwhile counts');
$t->sql("update usher.usage_close set closed_until
         = date_trunc('hour', now()) + interval '1 hour'");
$t->sql('select usher.keep_fold()');
is($t->sql('select requests from usher.usage'), 11, 'and adds up');

# leases

take('slot:a', 'me', 10);
$t->sql("update usher.lease set until = until + interval '9 s'");
is(take('slot:a', 'you', 10), undef, 'a small step back takes no lease away');
$t->sql("update usher.lease set until = until + interval '1 hour'");
is(take('slot:a', 'you', 3600), 2,
   'one further ahead than it was claimed for is taken');
is(take('slot:a', 'me', 10), undef, 'for as long as was claimed now');

$t->sql("update usher.lease set until = until + interval '1 day'");
$t->sql('select usher.keep_prune()');
is_deeply([ $t->rows('select owner, attempt, until <= clock_timestamp()
                      from usher.lease') ], [ [ '', 2, 1 ] ],
          'and keep gives it back for those that only ask what has run out');
take('slot:a', 'you', 10);
$t->sql('select usher.keep_prune()');
is(take('slot:a', 'me', 10), undef, 'but none that is held');

# what is to be done

$t->sql("insert into usher.todo (handler, reference, next_at, attempts,
             failed_at)
         values ('a', '{}', now() + interval '1 year', 0, null),
                ('b', '{}', now() + interval '1 hour', 1, now()),
                ('c', '{}', 'infinity', 16, now())");
$t->sql('select usher.keep_prune()');
is($t->sql("select string_agg(handler, ' ') from usher.todo
            where next_at <= clock_timestamp()"), 'a',
   'what was put there ahead of the clock is due, and nothing that waits');

done_testing();
