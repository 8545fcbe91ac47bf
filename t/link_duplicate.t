# Who clicks on a link again within the hour counts once, and the node knows
# it at once, in whatever worker.

use lib 't/lib';
use Usher::Test;
use Usher::Clock;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => '$_', "
    . "url => 'https://shop.example/')") for 'a', 'b';
$t->sql("select api.link_add(host => 'localhost', slug => 'ended', url => "
    . "'https://shop.example/', overflow => 'https://shop.example/2', "
    . "expires => '2026-01-01')");

# The hours that pass here are all of one day: after midnight nobody is known.

my $left = 86400 - time % 86400;
my $start = $left < 4 * 3600 ? $left + 60 : 0;

{
    local $ENV{LD_PRELOAD} = ahead($t);
    ahead_by($t, $start);

    $t->nginx(<<'CONF', workers => 2);
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m;

    server {
        listen 127.0.0.1:%%PORT%%;
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;

        add_header X-Reason $usher_click_reason always;

        location = /status { usher_status; }
        location = /metrics { usher_metrics; }
        location ~ ^/off/(?<slug>.*)$ {
            usher_link_visitor off;
            usher_link $slug;
        }
        location ~ ^/none/(?<slug>.*)$ {
            usher_link_fields off;
            usher_link $slug;
        }
        location ~ ^/(?<slug>.*)$ { usher_link $slug; }
    }
CONF
}

sub value {
    return ($t->get('/metrics')->body =~ /^usher_\Q$_[0]\E (\d+)$/m)[0] // -1;
}

my $address = '192.0.2.1';
my ($clicks, $shown) = (0);

sub click {
    my ($slug, %with) = @_;
    my $method = delete $with{method} // 'GET';

    my $response = $t->request($method, "/$slug", '', %{{
        'User-Agent' => 'Mozilla/5.0 (x)', 'X-Real-IP' => $address, %with }});

    $clicks += $response->status < 500;
    $shown = $response->header('X-Reason');

    return $response;
}

# The reason of the last click.

sub reason {
    click(@_);

    return $t->wait_for(sub {
        $t->sql('select count(*) from usher.click') == $clicks;
    }, "click $clicks is a row")
        ? $t->sql('select reason from usher.click order by event_time desc '
            . 'limit 1') : 'none';
}

$t->wait_for(sub { $t->get('/status')->json->{directory}{salt} eq 'common' },
             'a salt');
$t->wait_for(sub { click('ended', 'X-Real-IP' => '192.0.2.9')->status == 302 },
             'a link is known');

is(reason('a'), 0, 'the first one counts');
is(reason('a'), 21, 'not the second');
is($shown, 'duplicate', '$usher_click_reason knows');
is(reason('b'), 0, 'another link does');
is(reason('a', 'X-Real-IP' => '192.0.2.2'), 0, 'and another visitor');
is(reason('a', 'User-Agent' => 'Mozilla/5.0 (y)'), 0, 'as does his neighbour');
is(reason('ended'), 42, 'an ended link');
is(reason('ended'), 21, 'counts once as well');
is(reason('none'), 31, 'what is no link');
is(reason('none'), 31, 'has no duplicates');

$address = '192.0.2.3';
is(reason('a', method => 'HEAD'), 15, 'HEAD');
is(reason('a', 'Sec-Purpose' => 'prefetch'), 14, 'or a prefetch');
is(reason('a'), 0, 'makes no duplicate of who comes after it');
is(reason('a', method => 'HEAD'), 15, 'and stays what it is');

$address = '192.0.2.4';
is(reason('off/a'), 0, 'where nobody is seen');
is(reason('off/a'), 0, 'nobody comes again');
is(reason('none/a'), 0, 'who leaves no hash');
is(reason('none/a'), 21, 'is seen all the same');
is($t->sql("select string_agg(distinct visitor, '') from usher.click
            where address is null"), '', 'and leaves none');

is(value('clicks_total{reason="duplicate"}'), 3, 'duplicates are counted');

# what survives

$t->kill9('worker') for 1 .. 2;
$t->wait_for(sub { $t->workers == 2 && $t->get('/status')->status == 200 },
             'workers are killed');
is(reason('a'), 21, 'the node knows it still');
$t->reload;
is(reason('a'), 21, 'and after a reload');

# an hour

ahead_by($t, $start + 3500);
is(reason('a'), 21, 'within the hour');
ahead_by($t, $start + 7000);
is(reason('a'), 21, 'again within the hour since');
ahead_by($t, $start + 7000 + 3601);
is(reason('a'), 0, 'not after it');

# more than there is room for

my $cells = $t->get('/status')->json->{zone}{clicks}{cells};
my $more = 0;

for my $n (1 .. 2 * $cells) {
    last if value('clicks_forgotten_total') && $n > $cells;
    click('b', 'X-Real-IP' => "2001:db8:0:" . sprintf('%x', $n) . '::1');
    $more++;
}

cmp_ok(value('clicks_forgotten_total'), '>', 0, 'what was forgotten counts');
cmp_ok($t->get('/status')->json->{zone}{clicks}{used}, '<=', $cells,
       'no more than there is room for');
$t->wait_for(sub {
    $t->sql('select count(*) from usher.click') == $clicks;
}, 'each click is a row', 30);

done_testing();
