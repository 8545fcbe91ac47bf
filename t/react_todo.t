# What is to be done about events: put there with them, done once, and what
# fails waits without being in the way.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;

# handlers of the test: one that works, and those that do not

$t->sql('create table usher.probe (n integer)');
$t->sql('alter table usher.probe owner to usher_owner');
$t->sql("create function usher.react_$_->[0](reference jsonb) returns void
         language plpgsql as \$\$ begin $_->[1] end \$\$")
    for [ good => "insert into usher.probe values ((reference->>'n')::int);" ],
        [ bad => "insert into usher.probe values (-1);
                  raise exception '%', repeat('x', 600);" ],
        [ slow => "insert into usher.probe values (-2);
                   perform pg_sleep(60);" ],
        [ late => "insert into usher.ledger_entry (org_id, what, postings)
                   values (1, 'probe', 2);" ];
$t->sql("insert into usher.org (name) values ('acme')");

sub put {
    my ($handler, @n) = @_;

    $t->sql('select usher.todo_put(?, array(select jsonb_build_object(?::text,
             n) from unnest(?::int[]) n))', $handler, 'n',
            '{' . join(',', @n) . '}');
}

sub react {
    my ($row) = $t->rows('select taken, handled, failed, given_up from '
                         . 'usher.react(?)', $_[0] // 10);
    return "@$row";
}

sub done { $t->sql("select string_agg(n::text, ' ' order by n) "
                   . 'from usher.probe') // '' }

# in the transaction of who puts it

$t->db->begin_work;
put('good', 1);
$t->db->rollback;
put('good', 2, 3);
is(react(), '2 2 0 0', 'what was put is done');
is(done(), '2 3', 'and nothing else');
is(react(), '0 0 0 0', 'once');

# one that fails among others: nothing of it stays, and all else is done

put('good', 4);
put($_, 0) for qw(bad nothing late);
put('good', 5);
is(react(), '5 2 3 0', 'what fails holds up no other');
is(done(), '2 3 4 5', 'and leaves nothing behind');
is($t->sql('select count(*) from usher.ledger_entry'), 0,
   'nor does what would fail at the commit');
is_deeply([ map { "$_->{handler} $_->{attempts} $_->{sqlstate}" }
            @{ $t->ctl('todo list') } ],
          [ 'late 1 23514', 'nothing 1 42883', 'bad 1 P0001' ], 'all is listed');
is(length $t->ctl('todo list handler=bad')->[0]{error}, 500,
   'the error is bounded');
is($t->sql("select distinct next_at - failed_at >= '1 second' from usher.todo"),
   1, 'it is not tried again at once');

# attempts are further and further apart, and come to an end

my @waits;

for (2 .. 16) {
    $t->sql("update usher.todo set next_at = case when handler = 'bad'
             then now() else now() + interval '1 hour' end");
    react();
    push @waits, $t->sql("select case when next_at < 'infinity'
                          then round(extract(epoch from next_at - failed_at))
                          end from usher.todo where handler = 'bad'")
                 // 'never';
}

is("@waits", '2 4 8 16 32 64 128 256 512 1024 2048 3600 3600 3600 never',
   'twice as long each time, at most an hour');
is(scalar @{ $t->ctl('todo list given_up=true') }, 1, 'given up');
is($t->sql("select payload->>'handler' from usher.notification
            where what = 'todo.given_up' and org_id is null"), 'bad',
   'the operator is to be told');
my ($id) = map { $_->{id} } @{ $t->ctl('todo list handler=bad') };

$t->sql('create or replace function usher.react_bad(reference jsonb) returns '
        . "void language sql as 'insert into usher.probe values (6)'");
is($t->ctl("todo retry id=$id")->{retried}, 1, 'retried');
is(react(), '1 1 0 0', 'and done, since it was mended');
is(done(), '2 3 4 5 6', 'once');
like($t->ctl_fails("todo retry id=$id"), qr/no item $id has failed/, 'gone');
like($t->ctl_fails('todo retry'), qr/no item was named/, 'none is named');
$t->ctl('todo drop reason=test id='
        . $t->ctl('todo list handler=nothing')->[0]{id});
is(scalar @{ $t->ctl('todo list') }, 1, 'one is dropped');

# one that takes too long, and those behind it

$t->sql('delete from usher.todo');
put('slow', 0);
put('good', 7);
$t->sql('set statement_timeout = 2000');
is(react(), '1 0 1 0', 'it is cancelled, and that is its failure');
is(react(), '1 1 0 0', 'the next call goes on');
$t->sql('reset statement_timeout');
is(done(), '2 3 4 5 6 7', 'behind it');

# how many there are: exactly, and where there are very many about so

sub count { join ' ', map { @$_[0 .. 2] } $t->rows(
    'select * from usher.react_state()') }

sub read_rows { $t->sql("select pg_stat_get_xact_tuples_returned(
                             'usher.todo'::regclass)
                         + pg_stat_get_xact_tuples_returned(
                             'usher.todo_failing'::regclass)
                         + pg_stat_get_xact_tuples_returned(
                             'usher.todo_pkey'::regclass)
                         + pg_stat_get_xact_tuples_returned(
                             'usher.todo_next'::regclass)") }

$t->sql('delete from usher.todo');
put('good', 1 .. 5);
$t->sql("update usher.todo set attempts = 1, failed_at = now(),
             next_at = case reference->>'n' when '1' then 'infinity'
                       else now() end where reference->>'n' < '4'");
is(count(), '2 2 1', 'few are counted');
$t->sql("insert into usher.todo (handler, reference)
         select 'good', '{}' from generate_series(1, 150000)");
$t->sql('vacuum analyze usher.todo');
$t->db->begin_work;
is(count(), '150002 2 1', 'many are known');
cmp_ok(read_rows(), '<', 100_100, 'without counting all');
$t->db->commit;

# a lock that another holds is no failure of its own

$t->sql('delete from usher.todo');
(my $dsn = $t->dsn) =~ tr/ /;/;
my $db = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

$db->begin_work;
$db->do('lock table usher.probe');
put('good', 8);
is(react(), '1 0 1 0', 'it waits for a lock, and not for ever');
is($t->sql('select attempts from usher.todo'), 0, 'which is no attempt');
$db->rollback;
$t->sql('update usher.todo set next_at = now()');
react();

# two at once take different ones

put('good', 9, 10, 11);
$db->begin_work;
is(join(' ', map { @$_ } @{ $db->selectall_arrayref(
        'select handled from usher.react(2)') }), 2, 'one takes two');
is(react(), '1 1 0 0', 'another the third');
$db->commit;
is(done(), '2 3 4 5 6 7 8 9 10 11', 'each is done once');

done_testing();
