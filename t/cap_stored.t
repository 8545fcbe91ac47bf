# What is stored of what a cap counts: closed hours and open ones, each click
# once, whatever is being closed; edges hear of it when an hour closes.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->sql('select usher.keep_partitions()');
$t->ctl('org create name=acme');
$t->ctl('domain add host=go.example org=acme');
$t->ctl('link add host=go.example slug=a url=https://shop.example/ cap=100 '
        . 'cap_day=50');
$t->ctl('link add host=go.example slug=b url=https://shop.example/');
$t->ctl('link target set host=go.example slug=a target=t '
        . 'url=https://t.example/ cap=9 step=1');

# a day from midnight on, whose first hours are over, and the caps as old

my $h = $t->sql("select date_trunc('day', now() - interval '3 hours', 'UTC')");
my $today = $t->sql("select ?::timestamptz = date_trunc('day', now(), 'UTC')",
                    $h);

$t->sql('set session_replication_role = replica');
$t->sql("update usher.$_ set cap_since = ?::timestamptz + interval '10 minutes'
         where cap_since is not null", $h) for 'link', 'link_target';
$t->sql('set session_replication_role = origin');
$t->sql('update usher.usage_close set closed_until = ?', $h);
$t->sql('update usher.click_close set done_until = ?', $h);
$t->sql('delete from usher.directory_outbox');

sub click {
    my ($minutes, %with) = @_;
    my %row = (link_id => 1, reason => 0, target => 0, org_id => 1,
               click_id => '', node => 'edge1', host => 'go.example',
               slug => 'a', country => 'AT', device => 'mobile', os => '',
               language => '', referrer => '', sub1 => '', sub2 => '',
               sub3 => '', sub4 => '', sub5 => '', visitor => '',
               status => 302, flags => 0, %with);
    my @columns = sort keys %row;

    $t->sql('insert into usher.click (event_time, ' . join(', ', @columns)
        . ") values (?::timestamptz + ? * interval '1 minute'"
        . ', ?' x @columns . ')', $h, $minutes, @row{@columns});
}

# of the link in all, of its target, as link show and as the record have it

sub counts {
    my $show = $t->ctl('link show host=go.example slug=a');
    my $record = JSON::PP->new->decode($t->sql("select record from
        usher.link_records(array['go.example/a'])"));

    return join ' ', $show->{counted}, $show->{targets}[0]{counted},
                     $record->{cap}{c} // 0,
                     $record->{targets}[0]{cap}{c} // 0;
}

sub close_until {
    my ($hours) = @_;

    $t->sql("update usher.usage_close
             set closed_until = ?::timestamptz + ? * interval '1 hour'",
            $h, $hours);
    $t->sql('select usher.keep_clicks()');
}

sub told { $t->sql("select coalesce(string_agg(array_to_string(ids, ' '), ' '),
                    '') from usher.directory_outbox where kind = 'link'") }

is(counts(), '0 0 0 0', 'nothing yet');

click(5);                                          # before there was a cap
click(15, visitor => 'a');
click(16, visitor => 'a', node => 'edge2');        # a duplicate, says the hour
click(20, visitor => 'b', target => 1);
click(21, visitor => 'c', target => 2);
click(22, visitor => 'd', reason => 44, target => 1);
click(23, reason => 41, target => -2);
click(24, reason => 11);
click(25, reason => 21, visitor => 'a');
click(26, link_id => 2, slug => 'b');
click(65, visitor => 'f', target => 1);

is(counts(), '6 3 6 3', 'net clicks that were sent on, of open hours');
is(told(), '', 'no edge has to hear of it');

# an hour that is being closed, in parts

$t->sql('update usher.click_close set parts = 2');
$t->sql('select usher.click_book(done_until, 0, 2) from usher.click_close');
$t->sql('update usher.click_close set part = 1');
is(counts(), '6 3 6 3', 'half of an hour is closed: each click once');
$t->sql('update usher.click_close set part = 0, parts = 1');
$t->sql('truncate usher.cap_count, usher.click_hour, usher.click_visitor,
         usher.click_field');
$t->sql('update usher.click set relabelled = null');
$t->sql('delete from usher.directory_outbox');

close_until(1);
is(counts(), '5 3 5 3', 'closed: one was a duplicate');
is(join(' ', map { "@$_" } $t->rows('select link_id, target, clicks
    from usher.cap_count order by 1, 2')), '1 0 4 1 1 2', 'and so many closed');
is(told(), 'go.example/a', 'edges hear of the link, and of no other');
close_until(2);
is(counts(), '5 3 5 3', 'the next hour as well');
is($t->ctl('link show host=go.example slug=a')->{counted_today} // 0,
   $today ? 5 : 0, 'today');

# no more than the cap is looked for

click(130, visitor => "v$_", target => 1) for 1 .. 12;
is(counts(), '17 15 17 9', 'a record has what the cap can use');

# a cap that is given again begins anew

$t->ctl('link update host=go.example slug=a cap=0 cap_day=0');
$t->ctl('link update host=go.example slug=a cap=50');
is(counts(), '0 15 0 9', 'given again');

done_testing();
