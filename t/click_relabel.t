# One visitor at two nodes: each thinks him new, and when the hour closes he
# counts once; as he does where a node forgot him, or died before his row.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => '$_', "
    . "url => 'https://shop.example/')") for 'a', 'b';

for my $edge ('edge1', 'edge2') {
    $t->nginx(<<'CONF', name => $edge);
    usher_zone 1m;
    usher_node %%NODE%%;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m;

    server {
        listen 127.0.0.1:%%PORT%%;
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;

        location = /status { usher_status; }
        location ~ ^/(?<slug>.*)$ { usher_link $slug; }
    }
CONF
    $t->wait_for(sub {
        $t->on($edge)->get('/status')->json->{directory}{salt} eq 'common';
    }, "$edge: a salt");
    $t->wait_for(sub {
        $t->on($edge)->get('/b', 'User-Agent' => 'Mozilla/5.0 warm')->status
            == 302;
    }, 'a link is known');
}

my $sent = 0;

sub click {
    my ($edge, $address) = @_;

    $sent += $t->on($edge)->get('/a', 'User-Agent' => 'Mozilla/5.0 (x)',
        'X-Real-IP' => $address)->status == 302;
    select undef, undef, undef, 0.005;    # their order is known
}

click($_, '192.0.2.1') for 'edge1', 'edge2', 'edge2', 'edge1';
click($_, '192.0.2.2') for 'edge2', 'edge1';
click('edge1', '192.0.2.3');

# the table of edge2 is full, or new

$t->restart('edge2');
$t->wait_for(sub {
    $t->on('edge2')->get('/status')->json->{directory}{salt} eq 'common';
}, 'edge2 begins anew');
$t->wait_for(sub {
    $t->on('edge2')->get('/b', 'User-Agent' => 'Mozilla/5.0 warm')->status
        == 302;
}, 'and knows links');
click('edge2', '192.0.2.2');

sub rows {
    return $t->sql("select string_agg(node || ' ' || coalesce(relabelled,
                    reason), ',' order by event_time) from usher.click
                    where slug = 'a'");
}

$t->wait_for(sub {
    $t->sql("select count(*) from usher.click where slug = 'a'") == $sent;
}, 'all are rows');
is(rows(), 'edge1 0,edge2 0,edge2 21,edge1 21,edge2 0,edge1 0,edge1 0,edge2 0',
   'what the nodes know');

# rows that never came: what is called their duplicate is none

$t->sql("delete from usher.click where slug = 'a' and reason = 0
         and visitor = (select visitor from usher.click where slug = 'a'
                        order by event_time limit 1)");
$t->stop('usherd');
$t->sql("update usher.usage_close set closed_until
         = date_trunc('hour', now() + interval '1 hour', 'UTC')");
$t->sql('select usher.keep_clicks()');
is(rows(), 'edge2 0,edge1 21,edge2 0,edge1 21,edge1 0,edge2 21',
   'what all know together');
is($t->sql("select string_agg(reason::text, ',' order by event_time)
            from usher.click where slug = 'a'"), '21,21,0,0,0,0',
   'events are what they were');
is($t->sql("select sum(gross) || ' ' || sum(net) || ' ' || sum(uniques)
            from usher.click_sum s join usher.link l on l.id = s.link_id
            where l.slug = 'a'"), '6 3 3', 'gross, net, visitors');

done_testing();
