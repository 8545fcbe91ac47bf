# A cap is that of all nodes: each tells what it counted and hears of the
# others, whatever is started anew.

use lib 't/lib';
use Usher::Test;
use Usher::Cap;

my $t = capped('edge1', 'edge2');

call($t, link_add => slug => 'a', cap => 10, overflow => 'over');
call($t, link_add => slug => 'b', cap => 4, overflow => 'over');
sends($t, $_, 'a', 'shop', "$_ knows it") for 'edge1', 'edge2';

is(clicks($t, 'edge1', 'a', 4), 'shop=4', 'clicks at one node');
told($t, 'a', 4, 'are told');
sends($t, 'edge2', 'a', 'shop', 'the other one');
sleep 1;
is(clicks($t, 'edge2', 'a', 8), 'over=2 shop=6', 'counts on from there');
told($t, 'a', 10, 'what it counted is told');
sends($t, 'edge1', 'a', 'over', 'and the first one has heard');
is(clicks($t, 'edge1', 'a', 3), 'over=3', 'so that nobody is sent on');

my $key = hash_of($t, 'a');

like($t->redis_cli("hkeys $key"), qr/^edge1:[0-9a-f]{16}$/m, 'in its own name');
cmp_ok($t->redis_cli("ttl $key"), '>', 399 * 86400, 'kept as clicks are');

# a reload forgets nothing, nor does a node that begins with nothing

$t->on('edge2')->reload;
is(clicks($t, 'edge2', 'a', 3), 'over=3', 'after a reload');
$t->restart('edge1');
sends($t, 'edge1', 'a', 'over', 'a node that was started anew');
is(clicks($t, 'edge1', 'a', 3), 'over=3', 'has heard what it said itself');
call($t, link_update => slug => 'a', cap => 13);
sends($t, $_, 'a', 'shop', "raised, $_ goes on") for 'edge1', 'edge2';
is(clicks($t, 'edge1', 'a', 2), 'shop=2', 'it counts on');
told($t, 'a', 12, 'beside what it had counted');
is(scalar(() = $t->redis_cli("hkeys $key")), 3, 'under another name');
sends($t, 'edge2', 'a', 'shop', 'the other one');
sleep 1;
is(clicks($t, 'edge2', 'a', 2), 'over=1 shop=1', 'hears of both');

# a node that comes later, and one that has gone

is(clicks($t, 'edge1', 'b', 3), 'shop=3', 'another link');
told($t, 'b', 3, 'is told');
$t->stop('edge1');
edge($t, 'edge3');
sends($t, 'edge3', 'b', 'shop', 'a third node');
sleep 1;
is(clicks($t, 'edge3', 'b', 3), 'over=2 shop=1', 'knows who has gone');

# what somebody else wrote there

$t->redis_cli("hset $key nonsense x negative -5 huge 99999999999999999999");
call($t, link_update => slug => 'a', cap => 15);
sends($t, 'edge2', 'a', 'shop', 'what is no number');
is(clicks($t, 'edge2', 'a', 4), 'over=2 shop=2', 'counts nothing');

done_testing();
