# Parts: without the event that closes them they go after a day, unless it may
# still come; what goes is accounted for.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

$t->sql("select usher.partition_ensure(x, (now() at time zone 'UTC')::date - n)
         from unnest(array['hook', 'part']) x, generate_series(1, 3) n");


# Parts of an id, received so long ago.

sub part {
    my ($ago, $id) = @_;

    $t->sql("insert into usher.part (received_at, id, n, of, data)
             select now() - ?::interval, ?, n, 2, 'x'
             from generate_series(1, 2) n", $ago, $id);
}


sub parts {
    return join ' ', map { $_->[0] }
                     $t->rows('select distinct id from usher.part order by 1');
}


sub keep { JSON::PP->new->decode($t->sql('select usher.keep_parts()')) }


part('2 days', 'closed');
part('2 days', 'lost');
part('2 days', 'twin');
part('23 hours', 'young');
part('25 hours', 'long');
part('1 hour', 'long');

$t->sql("insert into usher.hook_key values ('shop', 'closed'), ('shop', 'x')");
$t->sql("insert into usher.hook (source, delivery_id, event_time, id, headers,
             body, parts, flags)
         values ('shop', 'closed', now(), 'closed', '{}', '', 2, 0),
                ('shop', 'x', now(), 'twin', '{}', 'whole', 0, 0)");
$t->sql("insert into usher.journal (slot, lines, last_event)
         values (gen_random_uuid(), 14, now())");

is(keep()->{dropped}, 4, 'parts without event are removed after a day');
is(parts(), 'closed long young', 'those whose event names them stay');
is($t->sql("select sum(rows) from usher.partition_gone
            where table_name = 'part'"), 4, 'what went is counted');
is($t->sql("select api.journal_verify()->>'missing'"), 0,
   'and the journal adds up');
is(keep()->{dropped}, 0, 'once');

# its slot stands where it was stored: the event may be next

$t->sql("insert into usher.journal (slot, state, moved_at, lines)
         select '0123456789abcdef0123456789abcdef', 'stopped',
                now() - interval '2 days', 2");
$t->sql("insert into usher.part (received_at, id, n, of, data)
         select moved_at, 'open', n, 2, 'x'
         from usher.journal, generate_series(1, 2) n where state = 'stopped'");

is(keep()->{dropped}, 0, 'while its slot stands still, a part waits');

for my $moved ("state = 'ended'", 'moved_at = now()') {
    $t->db->begin_work;
    $t->sql("update usher.journal set $moved where state = 'stopped'");
    is(keep()->{dropped}, 2, "but not with $moved");
    $t->db->rollback;
}

# a day that is being counted stays as it is

$t->sql("update usher.journal set moved_at = now() where state = 'stopped'");
$t->sql("insert into usher.partition_count (table_name, day)
         values ('part', ((now() - interval '2 days') at time zone 'UTC')::date)");
is(keep()->{dropped}, 0, 'what is being counted is left alone');
$t->sql('delete from usher.partition_count');

# a clock that jumped ahead makes nothing old

$t->sql("update usher.journal set last_event = now() - interval '3 days'");
is(keep()->{dropped}, 0, 'a day by the clock of the events as well');
$t->sql('update usher.journal set last_event = now()');
is(keep()->{dropped}, 2, 'then it goes');

done_testing();
