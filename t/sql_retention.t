# Retention: what is old is counted, however much it is, and dropped; a body's
# parts stay as long as the event that closes them.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->sql('set client_min_messages = error');


sub day { $t->sql("select ((now() at time zone 'UTC')::date - ?::int)::text", @_) }


# Rows of a day so many days ago, each of half a block.

sub requests {
    my ($ago, $n) = @_;

    $t->sql("select usher.partition_ensure('request', ?::date)", day($ago));
    $t->sql("insert into usher.request (received_at, event_time, route, status,
                 units, bytes_sent, duration_ms, request_id, node, method,
                 host, uri, user_agent, referer, auth_status, limit_status,
                 protocol, flags)
             select ?::date + time '12:00' at time zone 'UTC', now(), '/', 200,
                    0, 0, 0, n, 'e', 'GET', 'h', '/',
                    repeat(md5(n::text), 60), repeat(md5((-n)::text), 60), 'ok',
                    'ok', 'HTTP/1.1', 0
             from generate_series(1, ?::int) n", day($ago), $n);
}


sub there {
    my ($table, $ago) = @_;

    return defined $t->sql('select to_regclass(?)',
                           "usher.${table}_" . day($ago) =~ tr/-//dr);
}


sub gone {
    return $t->sql('select rows from usher.partition_gone
                    where table_name = ? and day = ?::date', $_[0],
                   day($_[1]));
}


# a large day, and a call that has no time: a range each

$t->sql("alter table usher.request alter user_agent set storage plain,
         alter referer set storage plain");
requests(100, 5000);
requests(101, 3);
$t->sql("insert into usher.journal (slot, lines, last_event)
         values (gen_random_uuid(), 5003, now())");

is($t->sql("select usher.partition_retention('0')"), 1,
   'the oldest day goes first');
is(gone('request', 101), 3, 'counted');

my @dropped = map { $t->sql("select usher.partition_retention('0')") } 1 .. 2;
is("@dropped", '0 0', 'a large day takes several calls');
ok(there('request', 100), 'it is there until it is counted');
is($t->sql('select blocks from usher.partition_count'), 2048,
   'and where the last call ended the next goes on');
is(gone('request', 100), undef, 'not accounted for before it is gone');

is($t->sql("select usher.partition_retention('0')"), 1, 'then it is dropped');
is(gone('request', 100), 5000, 'with the right number');
is($t->sql('select count(*) from usher.partition_count'), 0,
   'nothing is left of counting');

# a call ends before its statement is cancelled

$t->sql("set statement_timeout = '30 s'");
is($t->sql('select usher.call_time()'), '00:00:10',
   'a call takes a third of what a statement may');
$t->sql("set statement_timeout = 0");
is($t->sql('select usher.call_time()'), '00:00:20', 'or some seconds');

# parts of a body

sub part {
    my ($ago, $id, $table) = @_;

    $t->sql('select usher.partition_ensure(x, ?::date)
             from unnest(array[$$hook$$, $$part$$]) x', day($ago));
    $t->sql("insert into usher.part (received_at, id, n, of, data)
             select ?::date + time '12:00' at time zone 'UTC', ?, n, 2, 'x'
             from generate_series(1, 2) n", day($ago), $id);
}


sub hook {
    my ($ago, $id) = @_;

    $t->sql("insert into usher.hook_key values ('shop', ?)", $id);
    $t->sql("insert into usher.hook (received_at, source, delivery_id,
                 event_time, id, headers, body, parts, flags)
             select ?::date + time '12:00' at time zone 'UTC', 'shop', ?,
                    now(), ?, '{}', '', 2, 0", day($ago), $id, $id);
}


part(399, 'kept');
hook(399, 'kept');
part(402, 'old');
$t->sql('select usher.keep_parts()');
$t->sql('select usher.keep_partitions()');
is($t->sql("select count(*) from usher.part where id = 'kept'"), 2,
   'parts stay as long as their event');
ok(!there('part', 402), 'and no longer');

done_testing();
