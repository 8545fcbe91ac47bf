# Sums: each request is in usage_total once, whatever is folded meanwhile.

use lib 't/lib';
use Usher::Test;

use DBI;


my $t = Usher::Test->new;

$t->postgres;


sub daemon {
    return DBI->connect('dbi:Pg:' . join(';', split ' ', $t->dsn('usherd')),
                        '', '', { RaiseError => 1, PrintError => 0,
                                  AutoInactiveDestroy => 1 });
}


my $flush = daemon();


# As flush does it: a late event counts in the first open hour.

sub append {
    my ($db, $hour, $n) = @_;

    my ($open) = $db->selectrow_array(
        'select closed_until from usher.usage_close for share');

    $db->do(q{insert into usher.usage_delta values
              (greatest(date_trunc('hour', ?::timestamptz), ?), 1, 1, '/', 200,
               ?, ?, 10, 1)}, undef, $hour, $open, $n, $n);
}


sub total    { $t->sql('select sum(requests) from usher.usage_total') }
sub folded   { $t->sql('select coalesce(sum(requests), 0) from usher.usage') }
sub unfolded { $t->sql('select count(*) from usher.usage_delta') }
sub closed   { $t->sql('select closed_until from usher.usage_close') }
sub fold     { JSON::PP->new->decode($t->sql('select usher.keep_fold()')) }
sub at       { $t->sql('select ?::timestamptz + ?::interval', @_) }


# Time goes by for the hours, not for the clock: events are of long ago.

my $h = $t->sql("select date_trunc('hour', now() - interval '10 hours')");

$t->sql('update usher.usage_close set closed_until = ?', $h);
$t->sql("insert into usher.journal (slot, last_event)
         select gen_random_uuid(), ?::timestamptz from generate_series(1, 2)",
        $h);

append($flush, at($h, '5 minutes'), 3);
append($flush, at($h, '6 minutes'), 4);
append($flush, at($h, '70 minutes'), 5);
is(total(), 12, 'what is not folded counts');

fold();
is(folded(), 0, 'an open hour is not folded');
is(closed(), $h, 'an hour stays open while a slot is in it');

$t->sql("update usher.journal set last_event = ?
         where slot = (select min(slot::text)::uuid from usher.journal)",
        at($h, '2 hours'));
fold();
is(closed(), $h, 'until every live slot has passed it');

$t->sql("update usher.journal set last_event = ?", at($h, '2 hours'));
fold();
is(closed(), at($h, '2 hours'), 'then it is closed');
fold();
is(folded(), 12, 'and folded');
is(unfolded(), 0, 'out of the deltas');
is(total(), 12, 'the total is the same');

append($flush, at($h, '10 minutes'), 8);
is($t->sql('select hour from usher.usage_delta'), at($h, '2 hours'),
   'a late event is booked in the first open hour');
is(total(), 20, 'and counts');
is($t->sql('select count(*) from usher.usage_total'), 3, 'as an hour more');

# slots that ended, forked or stopped do not keep hours open

$t->sql("insert into usher.journal (slot, state, last_event)
         select gen_random_uuid(), s, ?::timestamptz
         from unnest(array['ended', 'forked', 'stopped']) s", $h);
$t->sql("update usher.journal set last_event = ? where state = 'live'",
        at($h, '3 hours'));
fold();
is(closed(), at($h, '3 hours'), 'only live slots are asked');

# an idle slot keeps an hour open for a day at most

$t->sql("update usher.journal set last_event = ? where state = 'ended'",
        at($h, '28 hours'));
is($t->sql("select usher.usage_closable(?)", at($h, '28 hours')),
   at($h, '4 hours'), 'after 24 hours it is closed anyway');

# flush and keep at once

my @pids;

for my $i (1 .. 3) {
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        my $db = daemon();

        for my $n (1 .. 100) {
            $db->begin_work;
            append($db, at_of($db, $h, int rand 8), 1);
            $db->do('select pg_sleep(0.002)');
            $db->commit;
        }

        require POSIX;
        POSIX::_exit(0);
    }

    push @pids, $pid;
}

sub at_of {
    my ($db, $since, $hours) = @_;

    return $db->selectrow_array(
        "select ?::timestamptz + ?::int * interval '1 hour'", undef, $since,
        $hours);
}

my $moved = 0;
my $wrong = 0;

for my $hours (4 .. 8) {
    $t->sql("update usher.journal set last_event = ? where state = 'live'",
            at($h, "$hours hours"));

    for (1 .. 5) {
        fold();
        $wrong++ if $t->sql("select count(*) from usher.usage_delta d
            where d.hour < (select closed_until - interval '1 hour'
                            from usher.usage_close)
                  and d.hour < ?", at($h, ($hours - 2) . ' hours'));
    }

    $moved++ if closed() eq at($h, "$hours hours");
}

is(scalar(grep { waitpid($_, 0); $? } @pids), 0, 'three flushers');
is($wrong, 0, 'nothing comes to an hour that was folded');
ok($moved > 0, 'hours were closed meanwhile');
fold() for 1 .. 3;
is(total(), 320, 'every event counts once');
is($t->sql("select count(*) from usher.usage_delta
            where hour < (select closed_until from usher.usage_close)"), 0,
   'all closed hours are folded');

# a flush in progress is waited for, not overtaken

$flush->begin_work;
append($flush, at($h, '8 hours'), 1);
$t->sql("update usher.journal set last_event = ? where state = 'live'",
        at($h, '9 hours'));
my $was = closed();
fold();
is(closed(), $was, 'an hour is not closed under a running flush');
$flush->commit;
fold() for 1 .. 2;
isnt(closed(), $was, 'but after it');
is(total(), 321, 'with what it brought');

# journal marks

$t->sql("insert into usher.journal_mark
         select slot, n, n, now() - interval '2 hours'
                - n * interval '1 second'
         from (select slot from usher.journal limit 1) j,
              generate_series(1, 600) n");
$t->sql("insert into usher.journal_mark select slot, 601, 0, now()
         from usher.journal_mark limit 1");
$t->sql('select usher.keep_prune()');
my $marks = $t->sql('select count(*) from usher.journal_mark');
ok($marks >= 11 && $marks <= 13, 'old marks are thinned to one a minute')
    or diag($marks);
is($t->sql('select max(position) from usher.journal_mark'), 601,
   'the newest stays');
$t->sql("update usher.journal_mark set at = at - interval '8 days'");
$t->sql('select usher.keep_prune()');
is($t->sql("select string_agg(position::text, ' ') from usher.journal_mark"),
   601, 'of those older than a week nothing but this');

done_testing();
