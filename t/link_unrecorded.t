# A click that found no room in the journal is no row; so it makes none of
# those after it a duplicate.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => 'a', "
    . "url => 'https://shop.example/')");

$t->nginx(<<'CONF', workers => 1);
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=256k segment=64k sync=10ms retain=0;

    server {
        listen 127.0.0.1:%%PORT%%;
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;

        location = /status { usher_status; }
        location ~ ^/deny/(?<slug>.*)$ {
            usher_full click deny;
            usher_link $slug;
        }
        location ~ ^/(?<slug>.*)$ { usher_link $slug; }
    }
CONF

sub click {
    my ($uri, $address) = @_;

    return $t->get($uri, 'User-Agent' => 'Mozilla/5.0 (x)',
                   'X-Real-IP' => $address)->status;
}

sub dropped {
    my $counters = $t->get('/status')->json->{counters};
    return $counters->{journal_dropped} + $counters->{journal_denied};
}

$t->wait_for(sub { $t->get('/status')->json->{directory}{salt} eq 'common' },
             'a salt');
$t->wait_for(sub { click('/a', '192.0.2.200') == 302 }, 'a link is known');
$t->stop('redis');

for my $n (1 .. 3000) {
    last if dropped();
    click("/a?sub1=" . 'x' x 60, "2001:db8:0:$n" . '::1');
}

my $full = dropped();

sub answered { $t->get('/status')->json->{clicks}{valid} }

cmp_ok($full, '>', 0, 'the journal is full');
my $answered = answered();

is(click('/a', '192.0.2.1'), 302, 'a click passes');
is(click('/deny/a', '192.0.2.2'), 503, 'or is denied');
is(answered(), $answered + 1, 'who is sent on is counted, and nobody else');
cmp_ok(dropped(), '>=', $full + 2, 'both are no rows');

$t->start('redis');
$t->wait_for(sub {
    click('/a', '192.0.2.201');
    $t->sql("select count(*) from usher.click where address = '192.0.2.0/24'
             and sub1 = ''") > 2;
}, 'there is room again', 60);

$t->sql("delete from usher.click");
is(click($_->[0], $_->[1]), 302, 'once more')
    for [ '/a?sub2=once', '192.0.2.1' ], [ '/deny/a?sub2=once', '192.0.2.2' ];
$t->wait_for(sub {
    $t->sql("select count(*) from usher.click where sub2 = 'once'") == 2;
}, 'they are rows');
is($t->sql("select string_agg(reason::text, ' ') from usher.click
            where sub2 = 'once'"), '0 0', 'and count');

done_testing();
