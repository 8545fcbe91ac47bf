# More caps than the zone has room for: nobody is refused, what does not count
# is counted and said once; who has told all makes way, and comes back with it.

use lib 't/lib';
use Usher::Test;
use Usher::Cap;
use Usher::Clock;

my $t = Usher::Cap::servers();

{
    local $ENV{LD_PRELOAD} = ahead($t);
    edge($t, 'edge1', zone => '1m caps=1%', workers => 1);
}

sub status { $t->get('/status')->json }
sub said { scalar(() = $t->error_log =~ /$_[0]/g) }

my $cells = status()->{zone}{caps}{cells};
my $links = $cells + 60;

$t->sql("insert into usher.link (org_id, host, slug, url, overflow_url, cap)
         select 1, 'localhost', 'm' || n, 'https://shop.example/',
                'https://over.example/', 2
         from generate_series(1, $links) n");
known($t, 'edge1');

# Each link is clicked on once.

sub all {
    my %to;

    $to{to($t, 'edge1', "m$_")}++ for 1 .. $links;

    return join ' ', map { "$_=$to{$_}" } sort keys %to;
}

$t->wait_for(sub { to($t, 'edge1', 'none') eq '404' }, 'links are known');
is(all(), "shop=$links", 'all are sent on');

my $status = status();
my $lost = $status->{counters}{clicks_uncapped};

cmp_ok($lost, '>=', $links - $cells, 'some were not counted');
like($t->get('/metrics')->body, qr/^usher_clicks_uncapped_total $lost$/m,
     'so many');
is($status->{zone}{caps}{used}, $links - $lost, 'each cell is one link\'s');
is(said('no room in the zone for the caps'), 1, 'which is said once');

# a minute later

$t->wait_for(sub {
    $t->redis_cli('eval',
        "return #redis.call('keys', 'usher:cap:*')", 0) == $links - $lost;
}, 'all is told', 30);
ahead_by($t, 70);
$t->wait_for(sub { said('there is room for the caps') }, 'there is room again');
is(all(), "shop=$links", 'all are sent on');
cmp_ok(status()->{counters}{zone_evicted}, '>', 0, 'others made way');

# who was evicted between his two clicks goes on where he was

my $over = 0;

for my $n (1 .. $links) {
    next if field_sum($t, hash_of($t, "m$n")) < 2;

    $over++;
    to($t, 'edge1', "m$n") eq 'over' or fail("m$n is over its cap"), last;
}

cmp_ok($over, '>', $cells / 2, 'what was told is known again');

done_testing();
