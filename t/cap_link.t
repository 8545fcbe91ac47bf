# A cap of a link: so many net clicks go where it leads, all others to the
# overflow, the fallback, or nowhere.

use lib 't/lib';
use Usher::Test;
use Usher::Cap;

my $t = capped('edge1');
my @edge = ($t, 'edge1');

call($t, link_add => slug => 'a', cap => 5, overflow => 'over',
     fallback => 'back');
call($t, link_add => slug => 'b', cap => 1, fallback => 'back');
call($t, link_add => slug => 'c', cap => 1);
call($t, link_add => slug => 'free');
call($t, link_add => slug => 'ended', cap => 1, overflow => 'over',
     expires => '2026-01-01');
call($t, link_add => slug => 'both', cap => 9, cap_day => 2,
     overflow => 'over');

sub used { $t->get('/status')->json->{zone}{caps}{used} }
sub metric { ($t->get('/metrics')->body =~ /^usher_$_[0] (\d+)$/m)[0] }

sends(@edge, 'free', 'shop', 'a link without a cap');
is(clicks(@edge, 'free', 10), 'shop=10', 'sends all on');
is(used(), 0, 'and takes no room');

sends(@edge, 'a', 'shop', 'a link with one');

# what does not count

click(@edge, 'a', 'User-Agent' => '');
click(@edge, 'a', 'Sec-Purpose' => 'prefetch');
$t->head('/a', 'User-Agent' => 'Mozilla/5.0 (x)');
click(@edge, 'a', 'X-Real-IP' => '192.0.2.1');
is(click(@edge, 'a', 'X-Real-IP' => '192.0.2.1')->header('X-Reason'),
   'duplicate', 'who comes again');
is(clicks(@edge, 'a', 10), 'over=6 shop=4', 'net clicks count, five of them');
is(click(@edge, 'a')->header('X-Reason'), 'capped', 'the others say so');
is(click(@edge, 'a', 'User-Agent' => '')->header('X-Reason'),
   'agent', 'who is no browser stays what he is');
is(metric('clicks_capped_total'), 7, 'and are counted');
is(used(), 1, 'a cap takes a cell');

sends(@edge, $_, 'shop', "link $_") for qw(b c both);
is(clicks(@edge, 'b', 2), 'back=1 shop=1', 'without overflow it falls back');
is(clicks(@edge, 'c', 2), '404=1 shop=1', 'or leads nowhere');
is(clicks(@edge, 'both', 4), 'over=2 shop=2', 'a cap of the day as well');
sends(@edge, 'ended', 'over', 'what has ended');
is(click(@edge, 'ended')->header('X-Reason'), 'expired', 'is not over its cap');

# another number goes on with the same count

call($t, link_update => slug => 'a', cap => 8);
sends(@edge, 'a', 'shop', 'raised, it goes on');
is(clicks(@edge, 'a', 5), 'over=2 shop=3', 'up to there');
call($t, link_update => slug => 'a', cap => 100);
sends(@edge, 'a', 'shop', 'raised once more');
is(clicks(@edge, 'a', 2), 'shop=2', 'it goes on');
call($t, link_update => slug => 'a', cap => 10);
sends(@edge, 'a', 'over', 'lowered, it is over it');
call($t, link_update => slug => 'a', title => 'x');
is(clicks(@edge, 'a', 1), 'over=1', 'whatever else is changed');

$t->wait_for(sub { counted($t, 'a') == 10 }, 'link show knows how many');

# taken away, and given again: anew

call($t, link_update => slug => 'a', cap => 0);
sends(@edge, 'a', 'shop', 'without a cap');
is(clicks(@edge, 'a', 12), 'shop=12', 'any number');
call($t, link_update => slug => 'a', cap => 3);
$t->wait_for(sub { to(@edge, 'a', 'Sec-Purpose' => 'prefetch'); used() == 7 },
             'a cap that is given again');
is(clicks(@edge, 'a', 4), 'over=1 shop=3', 'counts anew');
$t->wait_for(sub { counted($t, 'a') == 3 }, 'as link show does');

# rows: what was sent on is valid, the others went elsewhere as what they are

$t->wait_for(sub {
    my %rows = map { $_->[0] => $_->[1] } $t->rows(
        "select slug || ' ' || reason || ' ' || target, count(*)
         from usher.click group by 1");

    ($rows{'b 0 0'} // 0) == 1 && ($rows{'b 41 -1'} // 0) == 1
        && ($rows{'c 41 -3'} // 0) == 1 && ($rows{'both 41 -2'} // 0) == 2
        && ($rows{'ended 42 -2'} // 0) == 1;
}, 'rows say where they went');

done_testing();
