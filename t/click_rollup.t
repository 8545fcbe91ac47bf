# Clicks are counted when their hour closes: each once, wherever keep dies,
# and what comes late in the first open hour.

use lib 't/lib';
use Usher::Test;

use DBI;

my $t = Usher::Test->new;

$t->postgres;
$t->sql('select usher.keep_partitions()');

sub daemon {
    return DBI->connect('dbi:Pg:' . join(';', split ' ', $t->dsn('usherd')),
                        '', '', { RaiseError => 1, PrintError => 0,
                                  AutoInactiveDestroy => 1 });
}

my $flush = daemon();
my $h = $t->sql("select date_trunc('day', now() - interval '2 days', 'UTC')
                        + interval '8 hours'");

$t->sql('update usher.usage_close set closed_until = ?', $h);
$t->sql('update usher.click_close set done_until = ?', $h);

# A click, as flush stores it: minutes after eight, and what else it has.

sub click {
    my ($minutes, %with) = @_;
    my $db = delete $with{db} // $flush;
    my %row = (link_id => 1, reason => 0, target => 0, org_id => 1,
               click_id => '', node => 'edge1', host => 'go.example',
               slug => 'a', country => 'AT', device => 'mobile', os => '',
               language => '', referrer => '', sub1 => '', sub2 => '',
               sub3 => '', sub4 => '', sub5 => '', visitor => '',
               status => 302, flags => 0, %with);
    my @columns = sort keys %row;

    $db->do('insert into usher.click (event_time, ' . join(', ', @columns)
        . ") values (?::timestamptz + ? * interval '1 minute'"
        . ', ?' x @columns . ')', undef, $h, $minutes, @row{@columns});
}

sub close_until {
    my ($hours) = @_;

    $t->sql("update usher.usage_close
             set closed_until = ?::timestamptz + ? * interval '1 hour'",
            $h, $hours);
    return JSON::PP->new->decode($t->sql('select usher.keep_clicks()'));
}

# The counts of an hour after eight.

sub counts {
    my ($hour, $where) = @_;

    return $t->sql("select coalesce(sum(gross), 0) || ' ' || coalesce(sum(net),
                    0) || ' ' || coalesce(sum(uniques), 0)
                    from usher.click_sum
                    where hour = ?::timestamptz + ? * interval '1 hour' and "
                   . ($where // 'true'), $h, $hour);
}

sub relabelled {
    return $t->sql("select coalesce(string_agg(slug || ' ' || relabelled, ','
                    order by slug), '') from usher.click
                    where relabelled is not null");
}

# one hour

click(5, visitor => 'a');
click(10, visitor => 'a', node => 'edge2', slug => 'b');
click(20, visitor => 'a', reason => 21, slug => 'c');
click(30, visitor => 'b', reason => 21, slug => 'd');
click(31, visitor => 'c', reason => 15, slug => 'e');
click(32, visitor => 'c', slug => 'f');
click(33, reason => 11);
click(34) for 1 .. 2;
click(35, visitor => 'a', link_id => 2, slug => 'g', reason => 42);
click(36, visitor => 'a', link_id => 0, slug => 'h', reason => 31) for 1 .. 2;
click(70, visitor => 'b', slug => 'i');
click(125, visitor => 'a', slug => 'j');
click(70, visitor => 'd', slug => 'k');

is(close_until(0)->{counted}, 0, 'an open hour is not counted');
is(close_until(1)->{counted}, 12, 'a closed one is');
is(counts(0), '12 6 4', 'gross, net and visitors');
is(counts(0, 'link_id = 2'), '1 1 1', 'of a link');
is(counts(0, 'reason = 21'), '2 0 0', 'duplicates');
is(relabelled(), 'b 21,d 0', 'two were called something else');
is(close_until(1)->{counted}, 0, 'no hour is counted twice');
is(counts(0), '12 6 4', 'so it is final');

# the next two, and what was late

click(50, visitor => 'a', slug => 'l');
click(59, visitor => 'b', slug => 'm');
click(15, visitor => 'e', slug => 'n');
is(close_until(2)->{counted}, 5, 'late clicks count in the first open hour');
is(counts(1, "hour > '$h'"), '5 2 2', 'as it was');
is(relabelled(), 'b 21,d 0,i 21,l 21,m 21',
   'who had clicked in the hour before that is known, and who did after');
close_until(3);
is(counts(2), '1 1 0', 'more than an hour later a visitor is none of the day');

# a clock that is ahead

click(60 * 24 * 40, slug => 'o');
$t->sql("update usher.usage_close set closed_until =
         date_trunc('hour', now() + interval '3 hours', 'UTC')");
$t->sql('select usher.keep_clicks()');
is($t->sql("select count(*) from usher.click_hour
            where hour > now() + interval '1 hour'"), 0,
   'what is ahead counts an hour ahead at most');
is($t->sql('select sum(clicks) from usher.click_hour'),
   $t->sql('select count(*) from usher.click'), 'each click once');

# hours that a clock had closed too early

my $done = $t->sql('select done_until from usher.click_close');

$t->sql("update usher.usage_close set closed_until = closed_until
         - interval '4 hours'");
click(61);
is($t->sql('select max(open_hour) from usher.click_batch'), $done,
   'what was counted is not opened again');
$t->sql("update usher.usage_close set closed_until = closed_until
         + interval '5 hours'");
$t->sql('select usher.keep_clicks()');
is($t->sql('select sum(clicks) from usher.click_hour'),
   $t->sql('select count(*) from usher.click'), 'and nothing is left out');

# sub-ids

$h = $t->sql('select done_until from usher.click_close');
click(1, sub1 => "s$_") for 1 .. 1003;
click(2, sub1 => 's1003') for 1 .. 2;
click(3, sub1 => 's1002', reason => 11) for 1 .. 2;
click(4);
close_until(1);
is($t->sql("select gross || ' ' || net from usher.click_field
            where value = 's1003'"), '3 3', 'a sub-id');
is($t->sql("select gross || ' ' || net from usher.click_field
            where value = '...'"), '3 3', 'the rest of too many');
is($t->sql("select gross || ' ' || net from usher.click_field
            where value = 's1002'"), '3 1', 'not the most frequent');

# a flush in progress is waited for

$t->sql("update usher.usage_close set closed_until = ?", $h);
$t->sql("update usher.click_close set done_until = ?", $h);
$t->sql("delete from usher.$_") for qw(click click_hour click_field);
$flush->begin_work;
click(1);
$t->sql("set lock_timeout = '300ms'");
ok(!eval { close_until(1) }, 'no hour closes under a flush');
$flush->commit;
is(close_until(1)->{counted}, 1, 'but after it');

# killed at any moment

$t->sql("insert into usher.click
         select now(), ?::timestamptz + interval '1 hour' + g * interval '1 s',
                1 + g % 50, 0, 0, 1, '', 'edge1', 'go.example', 'x', 'AT', '',
                '', '', '', 's' || g % 7, '', '', '', '',
                substr(md5((g % 5000)::text), 1, 16), null, 302, 0, null
         from generate_series(1, 10000) g", $h);
$t->sql("update usher.usage_close set closed_until = ?::timestamptz
         + interval '5 hours'", $h);

my ($killed, $tries) = (0, 0);

while ($tries++ < 40
       && $t->sql('select done_until < (select closed_until
                   from usher.usage_close) from usher.click_close')) {
    my $keep = daemon();
    my $pid = $keep->{pg_pid};

    if (fork // die) {
        $killed += !eval { $keep->do('select usher.keep_clicks()') };
    } else {
        select undef, undef, undef, $tries * 0.05;
        kill 'TERM', $pid;
        POSIX::_exit(0);
    }

    wait;
}

cmp_ok($killed, '>', 0, "keep was killed $killed times");
is($t->sql('select sum(clicks) from usher.click_hour'), 10001,
   'each click is counted once');
is($t->sql('select sum(gross) from usher.click_field'), 10000, 'by sub-id, too');
is($t->sql('select sum(uniques) from usher.click_hour'), 5000,
   'and each visitor');

# what may go

$t->sql("update usher.usage_close set closed_until =
         date_trunc('hour', now() + interval '40 hours', 'UTC')");
$t->sql('select usher.keep_clicks()') for 1 .. 2;
is($t->sql('select count(*) from usher.click_batch'), 0, 'batches go');
is($t->sql('select count(*) from usher.click_visitor'), 0,
   'and visitors, after a day');

done_testing();
