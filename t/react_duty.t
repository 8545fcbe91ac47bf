# Duty react, with usherd itself: an event's item is put there by flush and
# done by react, once, whoever dies; and what fails is said.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;

$t->sql('create table usher.probe (transaction text)');
$t->sql('alter table usher.probe owner to usher_owner');
$t->sql("create or replace function usher.react_conversion(reference jsonb)
         returns void language sql as \$\$ insert into usher.probe
         select e.transaction_id from usher.conversion_event e
         where e.received_at = (reference->>'received_at')::timestamptz
               and e.digest = decode(reference->>'digest', 'hex') \$\$");

sub done { $t->sql("select string_agg(transaction, ' ' order by transaction) "
                   . 'from usher.probe') // '' }

sub value { ($t->metrics =~ /^usherd_$_[0]\{duty="react.*"\} (\d+)$/m)[0] // -1 }


# from the slot to the handler; a loser has no item

$t->usherd(duties => 'flush,react', conf => { usherd => {
    batch_age_ms => 20 } });
my $slot = Usher::Slot->new($t);
$slot->append(map { $slot->conversion($_) } qw(a b a))->ship;
$t->wait_for(sub { done() eq 'a b' }, 'an event is reacted to');
$slot->append(map { $slot->conversion($_) } qw(b c))->ship;
$t->wait_for(sub { done() eq 'a b c' }, 'one that came again is not');
$t->wait_for(sub { value('react_handled_total') == 3 }, 'counted');
is($t->sql('select count(*) from usher.todo'), 0, 'nothing is left to do');

# without NOTIFY it is found as well

$t->sql("insert into usher.conversion_key values (now(), 9, 'd', '\\x0d')");
$t->sql('set session_replication_role = replica');
$t->sql("insert into usher.conversion_event select now(), now(), 9, 1, 'pixel',
         1, '', 'd', '', '', '', '', '', '', '', '', '', '', '\\x0d', '', '', null, '', 0");
$t->sql('reset session_replication_role');
$t->sql("insert into usher.todo (handler, reference)
         select 'conversion', jsonb_build_object('received_at', received_at,
             'digest', '0d')
         from usher.conversion_event where transaction_id = 'd'");
$t->wait_for(sub { done() eq 'a b c d' }, 'polling is the guarantee');

# killed in the midst of it, with another usherd beside it: once

$t->sql('create or replace function usher.react_wait(reference jsonb)
         returns void language sql as $$
         insert into usher.probe select reference->>$q$n$q$
         from pg_advisory_xact_lock(7) $$');
(my $dsn = $t->dsn) =~ tr/ /;/;
my $db = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });
$db->begin_work;
$db->do('select pg_advisory_xact_lock(7)');
$t->sql("select usher.todo_put('wait', array_agg(jsonb_build_object('n', n)))
         from generate_series(1, 250) n");
$t->wait_for(sub { $t->sql("select count(*) from pg_stat_activity
                            where wait_event = 'advisory'") }, 'it waits');
$t->usherd(name => 'usherd2', duties => 'react');
$t->wait_for(sub { $t->sql("select count(*) from pg_stat_activity
                            where wait_event = 'advisory'") == 2 },
             'and another, for others');
$t->kill9('react');
$db->rollback;
$t->wait_for(sub { !$t->sql('select count(*) from usher.todo') },
             'all is done', 30);
is($t->sql("select count(*) || ' ' || count(distinct transaction)
            from usher.probe where transaction ~ '^[0-9]'"), '250 250', 'once');
$t->stop('usherd2');

# what is put off

$db->begin_work;
$db->do("select usher.todo_put('wait', array['{}'::jsonb])");
$db->do("update usher.todo set next_at = now() + interval '1 hour'");
$db->commit;
$t->wait_for(sub { value('react_waiting') == 1 }, 'who waits is shown', 20);
$t->sql('delete from usher.todo');

# what fails

is(value('react_failing'), 0, 'none has failed yet');
$t->sql("select usher.todo_put('nothing', array[jsonb_build_object('n', 1),
                                                jsonb_build_object('n', 2)])");
$t->wait_for(sub { value('react_failing') == 2 }, 'failures are shown', 20);
cmp_ok(value('react_failures_total'), '>=', 2, 'and counted');
is(scalar(() = $t->log_of('usherd') =~ /cannot do what follows from an event/g),
   1, 'said once');
$t->sql("update usher.todo set attempts = 15, next_at = now()
         where reference->>'n' = '1'");
$t->sql("notify usher_react");
$t->wait_for(sub { $t->log_of('usherd') =~ /alert.* 1 items failed for hours/i },
             'what is given up is an alert');
$t->wait_for(sub { value('react_given_up') == 1 }, 'and shown', 20);

# the call itself

$t->sql('alter function usher.react(integer) rename to react_away');
$t->wait_for(sub { $t->log_of('usherd') =~ /usher.react failed.* 42883/ },
             'a call that fails is said');
cmp_ok(value('react_errors_total'), '>', 0, 'and counted');
$t->sql('alter function usher.react_away(integer) rename to react');
$t->wait_for(sub { $t->log_of('usherd') =~ /usher.react works again/ },
             'as that it works again');

done_testing();
