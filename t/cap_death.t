# kill -9 of workers, and reloads, under load: what was counted stays counted,
# whoever told the others of it.

use lib 't/lib';
use Usher::Test;
use Usher::Cap;

my $t = capped('edge1', 'edge2');
my @nodes = ('edge1', 'edge2');

call($t, link_add => slug => 'a', cap => 999_999, overflow => 'over');
sends($t, $_, 'a', 'shop', "$_ knows it") for @nodes;

my $end = crowd($t, 'a', 6, @nodes);
my $killed = 0;

while ($killed < 8) {
    select undef, undef, undef, 0.3;
    $t->on($nodes[$killed % 2]);

    my @workers = $t->workers or next;

    $killed += kill 'KILL', $workers[$killed / 2 % @workers];
    $t->reload if $killed == 4;
}

$t->on('edge1');
$end->();
$t->wait_for(sub {
    !grep { $t->on($_)->get('/status')->status != 200 } @nodes;
}, 'workers were killed', 30);

# who was killed between the row and the count has not counted it; a count that
# stays the same was told to the end

my $told = -1;

$t->wait_for(sub {
    my $rows = $t->sql('select count(*) from usher.click
                        where target = 0 and reason = 0');
    my $was = $told;

    select undef, undef, undef, 1 if $was >= 0;
    $told = field_sum($t, hash_of($t, 'a'));

    return $rows && $told == $was && $told <= $rows && $told >= $rows - $killed;
}, 'what is a row was counted', 60);

diag("$told counted, $killed workers killed");
cmp_ok($told, '>', 100, 'clicks were counted');

# and it goes on

call($t, link_update => slug => 'a', cap => $told + 3);
known($t, @nodes);
is(clicks($t, 'edge1', 'a', 5), 'over=2 shop=3', 'one node goes on from there');
told($t, 'a', $told + 3, 'and tells');
sends($t, 'edge2', 'a', 'over', 'the other one');

done_testing();
