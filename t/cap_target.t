# Caps of targets: who would be sent to one that has had all that it may is
# sent to another, and is valid; capped is who is sent to none.

use lib 't/lib';
use Usher::Test;
use Usher::Cap;
use Usher::Health;

my $t = capped('edge1');
my @edge = ($t, 'edge1');

call($t, link_add => slug => 'a', url => 'own', fallback => 'back',
     dead => 'fallback');
call($t, link_target_set => slug => 'a', target => $_->[0], url => $_->[0],
     cap => $_->[1], cap_day => $_->[2], step => $_->[3])
    for [ 'one', 2, 0, 1 ], [ 'two', 3, 0, 1 ], [ 'three', 0, 4, 2 ],
        [ 'four', 9, 1, 3 ];

known(@edge);

sub go { my ($n) = @_; join ' ', map { to(@edge, 'a') } 1 .. $n }

my %seen;

$seen{$_}++ for split / /, go(5);
is("$seen{one} $seen{two}", '2 3', 'those of a step share what they may');
is(go(4), 'three three three three', 'then come those of the next');
is(go(1), 'four', 'the lower cap holds');
is(go(2), 'own own', 'then the link\'s own');
is(click(@edge, 'a')->header('X-Reason'), 'valid', 'which is valid');
$t->wait_for(sub {
    $t->sql("select count(*) from usher.click where slug = 'a'
             and reason = 0 and target >= 0") == 13;
}, 'as are all that were sent to a target');

my $show = $t->ctl('link show host=localhost slug=a');
my %target = map { $_->{name} => $_ } @{ $show->{targets} };

is(join(' ', map { $target{$_}{counted} // '-' } qw(one two three four)),
   '2 3 - 1', 'link show counts for each');
is($target{three}{counted_today}, 4, 'and the day');

# one that is dead, and the others over their caps

collect($t);
dies($t, 'https://own.example/');
sends(@edge, 'a', 'back', 'nobody is left');
is(click(@edge, 'a')->header('X-Reason'), 'capped', 'capped is who fell back');

# the dead's visitors count where they are sent to

call($t, link_add => slug => 'b', url => 'none', dead => 'fallback');
call($t, link_target_set => slug => 'b', target => 'dead', url => 'dead');
call($t, link_target_set => slug => 'b', target => 'alive', url => 'alive',
     step => 2, cap => 3);
sends(@edge, 'b', 'dead', 'it lives');
collect($t);
dies($t, 'https://dead.example/');
sends(@edge, 'b', 'alive', 'it dies');
is(clicks(@edge, 'b', 5), 'alive=3 none=2', 'who comes instead counts');

# raised, lowered, taken away; a cap of the link goes first

call($t, link_target_set => slug => 'b', target => 'alive', url => 'alive',
     step => 2, cap => 5);
sends(@edge, 'b', 'alive', 'raised');
is(clicks(@edge, 'b', 3), 'alive=2 none=1', 'it goes on');
call($t, link_target_set => slug => 'b', target => 'alive', url => 'alive',
     step => 2);
sends(@edge, 'b', 'alive', 'without a cap');
is(clicks(@edge, 'b', 3), 'alive=3', 'any number');
call($t, link_update => slug => 'b', cap => 2, fallback => 'back');
known(@edge);
is(clicks(@edge, 'b', 3), 'alive=2 back=1',
   'one of the link is for all targets');

done_testing();
