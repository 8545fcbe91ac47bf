# A cap of the day ends with the day (UTC), and the next one begins at 0; what
# counts in all goes on.

use lib 't/lib';
use Usher::Test;
use Usher::Cap;
use Usher::Clock;

my $t = Usher::Cap::servers();
my $left = 86400 - time % 86400;
my $start = $left < 3600 ? $left + 60 : 0;    # no midnight while it runs
my $midnight = 86400 - (time + $start) % 86400 + $start;
my $clock = ahead($t);

ahead_by($t, $start);

{
    local $ENV{LD_PRELOAD} = $clock;
    edge($t, $_) for 'edge1', 'edge2';
}

call($t, link_add => slug => 'a', cap => 5, cap_day => 3, overflow => 'over');
sends($t, $_, 'a', 'shop', "$_ knows it") for 'edge1', 'edge2';

my $day = int((time + $start) / 86400);

is(clicks($t, 'edge1', 'a', 2), 'shop=2', 'clicks of a day');
told($t, 'a', 2, 'are told', day => $day);
sends($t, 'edge2', 'a', 'shop', 'another node');
sleep 1;
is(clicks($t, 'edge2', 'a', 2), 'over=1 shop=1', 'has heard');
told($t, 'a', 3, 'they count in all as well');
cmp_ok($t->redis_cli('ttl ' . hash_of($t, 'a', day => $day)), '<=', 2 * 86400,
       'the day is kept for two');

# midnight

ahead_by($t, $midnight - 5);
sends($t, 'edge1', 'a', 'over', 'just before midnight');
ahead_by($t, $midnight + 5);
sends($t, $_, 'a', 'shop', "just after it, $_") for 'edge1', 'edge2';
is(clicks($t, 'edge1', 'a', 3), 'over=1 shop=2', 'what counts in all goes on');
told($t, 'a', 2, 'and the day began anew', day => $day + 1);
is(field_sum($t, hash_of($t, 'a', day => $day)), 3,
   'the one before is as it was');

# a cap of the day alone

call($t, link_update => slug => 'a', cap => 0);
known($t, 'edge1', 'edge2');
is(clicks($t, 'edge1', 'a', 2), 'over=1 shop=1', 'without the other cap');
ahead_by($t, $midnight + 86400 + 5);
sends($t, 'edge1', 'a', 'shop', 'a day later');
is(clicks($t, 'edge1', 'a', 4), 'over=1 shop=3', 'it is the day\'s');

done_testing();
