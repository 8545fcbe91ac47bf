# Without Redis each node goes on by what it knows; when Redis is back, all is
# told; a wiped one gets it back; and where a node has lost its count as well,
# PostgreSQL's is left.

use lib 't/lib';
use Usher::Test;
use Usher::Cap;
use Usher::Directory 'edge_user';

my $t = Usher::Cap::servers();
my $user = edge_user($t);

edge($t, $_, redis => "%%REDIS%% $user") for 'edge1', 'edge2';
call($t, link_add => slug => $_->[0], cap => $_->[1], overflow => 'over')
    for [ a => 12 ], [ b => 10 ], [ c => 6 ], [ d => 9999 ], [ e => 9 ];

sub both { sends($t, $_, @_, "$_: $_[0] goes to $_[1]") for 'edge1', 'edge2' }

sub clicked { my ($slug, @n) = @_;
              join ', ', map { clicks($t, "edge$_", $slug, $n[$_ - 1]) } 1, 2 }

both($_, 'shop') for qw(a b c d e);

# away

is(clicked('a', 3, 3), 'shop=3, shop=3', 'clicks at two nodes');
told($t, 'a', 6, 'are told');
sends($t, 'edge1', 'a', 'shop', 'edge1 asks once more');
sleep 1;
$t->stop('redis');
is(clicked('a', 8, 3), 'over=2 shop=6, shop=3', 'without Redis each goes on');
$t->start('redis');
$t->redis_cli('acl setuser edge on >geheim ~* +@all');
told($t, 'a', 15, 'what they counted is told when it is back');
both('a', 'over');

# wiped

is(clicked('b', 3, 4), 'shop=3, shop=4', 'clicks at two nodes');
told($t, 'b', 7, 'are told');
$t->redis_cli('flushall');
told($t, 'b', 7, 'within a minute a wiped Redis gets them back');
is(clicked('b', 5, 0), 'over=2 shop=3, ', 'and they go on from there');
told($t, 'b', 10, 'to the cap');

# wiped while all nodes are started anew

is(clicked('c', 2, 2), 'shop=2, shop=2', 'clicks at two nodes');
told($t, 'c', 4, 'are told');
$t->wait_for(sub { counted($t, 'c') == 4 }, 'and stored');
$t->stop($_) for 'edge1', 'edge2';
$t->redis_cli('flushall');
$t->wait_for(sub { $t->redis_cli('get usher:d:ready') }, 'a new lineage', 30);
$t->start($_) for 'edge1', 'edge2';
both('c', 'shop');
is(clicks($t, 'edge1', 'c', 4), 'over=2 shop=2', 'what is stored counts');

# refused

$t->redis_cli('acl setuser edge -hset -expire');
is(clicked('d', 2, 0), 'shop=2, ', 'a node that may not tell');
$t->wait_for(sub {
    $t->error_log =~ /this\snode\sonly:\sRedis\sanswered
                      \s"NOPERM.*\sneeds\sHGET,\sHSET,\sHVALS\sand\sEXPIRE/x;
}, 'says so');
is(field_sum($t, hash_of($t, 'd')), 0, 'nobody hears of them');
is(clicked('d', 2, 0), 'shop=2, ', 'and it goes on by itself');
$t->redis_cli('acl setuser edge +hset +expire');
told($t, 'd', 4, 'till it may');
$t->wait_for(sub {
    to($t, 'edge1', 'd', 'Sec-Purpose' => 'prefetch');
    $t->error_log =~ /caps count the clicks of all nodes again/
}, 'which is said', 60);
is(scalar(() = $t->error_log =~ /caps of links count/g), 1, 'once each');

# a key that is no hash holds up no other

$t->redis_cli('set', hash_of($t, 'e'), 'x');
clicks($t, 'edge1', 'e', 1);
$t->wait_for(sub { $t->error_log =~ /Redis answered "WRONGTYPE/ }, 'no hash');

my $was = field_sum($t, hash_of($t, 'd'));

is(clicks($t, 'edge1', 'd', 5), 'shop=5', 'others go on');
told($t, 'd', $was + 5, 'and are told');
$t->redis_cli('del', hash_of($t, 'e'));
told($t, 'e', 1, 'as it is when it may be');

done_testing();
