# By how much a cap is overshot: by what comes at all nodes while they have not
# heard of each other, and no more.  Afterwards nobody is sent on.

use lib 't/lib';
use Usher::Test;
use Usher::Cap;

my $t = capped('edge1', 'edge2');
my @nodes = ('edge1', 'edge2');
my $cap = 150_000;

call($t, link_add => slug => 'a', cap => $cap, overflow => 'over');
sends($t, $_, 'a', 'shop', "$_ knows it") for @nodes;

my $end = crowd($t, 'a', 8, @nodes);

$t->wait_for(sub { field_sum($t, hash_of($t, 'a')) >= $cap },
             'eight clients reach the cap', 240);

# each node has heard

$t->wait_for(sub {
    !grep { to($t, $_, 'a', 'Sec-Purpose' => 'prefetch') ne 'over' } @nodes;
}, 'nobody is sent on any more', 30);
sleep 1;
$end->();

my $told = field_sum($t, hash_of($t, 'a'));

$t->wait_for(sub {
    $told == $t->sql('select count(*) from usher.click where target = 0
                      and reason = 0');
}, 'each that was sent on is a row, and was counted once', 120);

my $sent = $told;

cmp_ok($sent, '>=', $cap, 'not less than the cap were sent on');

# what came in the second before the last one was sent on is more than may come
# in one round of telling; without it each node would send on as many

my $second = $t->sql("select count(*) from usher.click c,
        (select max(event_time) as last from usher.click
         where target = 0 and reason = 0) m
    where c.target = 0 and c.reason = 0
          and c.event_time > m.last - interval '1 s'");
my $rate = $t->sql("select round(count(*) / extract(epoch from
        max(event_time) - min(event_time))) from usher.click
    where target = 0 and reason = 0");

cmp_ok($second, '<', $cap, 'there were more than come in a second');
cmp_ok($sent - $cap, '<=', $second, 'and not many more');
diag("overshot by " . ($sent - $cap) . " at $rate clicks a second");

is($t->sql('select count(*) from usher.click where reason = 41
            and target <> -2'), 0, 'the others overflowed');
is(clicks($t, $_, 'a', 3), 'over=3', "$_ stays closed") for @nodes;

done_testing();
