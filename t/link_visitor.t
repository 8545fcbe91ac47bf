# Visitors: the same hash at all nodes for one day, and nobody keeps what it
# was made with.

use lib 't/lib';
use Usher::Test;
use Usher::Clock;

use POSIX qw(strftime);

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => '$_', "
    . "url => 'https://shop.example/')") for 'a', 'b';

my $clock = ahead($t);

sub edge {
    my ($name, $redis) = @_;

    local $ENV{LD_PRELOAD} = $clock;

    $t->nginx(<<'CONF' =~ s/REDIS/$redis/r, name => $name, workers => 2);
    usher_zone 4m;
    usher_redis REDIS;
    usher_journal %%DIR%%/journal size=16m segment=1m;

    server {
        listen 127.0.0.1:%%PORT%%;
        set_real_ip_from 127.0.0.1;
        real_ip_header X-Real-IP;

        location = /status { usher_status; }
        location ~ ^/off/(?<slug>.*)$ {
            usher_link_visitor off;
            usher_link $slug;
        }
        location ~ ^/none/(?<slug>.*)$ {
            usher_link_fields off;
            usher_link $slug;
        }
        location ~ ^/some/(?<slug>.*)$ {
            usher_link_country AT;
            usher_link_fields country sub;
            usher_link $slug;
        }
        location ~ ^/(?<slug>.*)$ {
            usher_link_country AT;
            usher_link $slug;
        }
    }
CONF
}

sub ask { my ($edge, @with) = @_; $t->on($edge)->get(@with) }
sub salt { ask($_[0], '/status')->json->{directory}{salt} }

my $n = 0;
my $browser = 'Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0';

# The row of a click.

sub click {
    my ($edge, $uri, $address, $agent) = @_;
    my $sub = 'n' . ++$n;

    ask($edge, "$uri?sub5=$sub", 'User-Agent' => $agent // $browser,
        'X-Real-IP' => $address, Referer => 'https://from.example/',
        'Accept-Language' => 'de')->status == 302 or die 'no link';

    return $sub;
}

sub row {
    my ($sub) = @_;
    my $row;

    $t->wait_for(sub {
        $row = $t->db->selectrow_hashref(
            'select * from usher.click where sub5 = ?', undef, $sub);
    }, "click $sub is a row");

    return $row // {};
}

sub visitor { row(click(@_))->{visitor} }

edge($_, '%%REDIS%%') for 'edge1', 'edge2';

for my $edge ('edge1', 'edge2') {
    $t->wait_for(sub { ask($edge, '/a')->status == 302 }, 'a link is known');
    $t->wait_for(sub { salt($edge) eq 'common' }, "$edge: the common salt");
}

my $one = visitor('edge1', '/a', '192.0.2.1');

like($one, qr/^[0-9a-f]{16}$/, 'a visitor');
is(visitor('edge2', '/b', '192.0.2.1'), $one, 'is the same at another node');
isnt(visitor('edge1', '/a', '192.0.2.2'), $one, 'another address is another');
isnt(visitor('edge1', '/a', '192.0.2.1', "$browser x"), $one,
     'as is another agent');
isnt(visitor('edge1', '/a', '192.0.2.1', ''), $one, 'or none');
isnt(visitor('edge1', '/a', '192.0.2.1', 'x' x 250 . 'a'),
     visitor('edge1', '/a', '192.0.2.1', 'x' x 250 . 'b'), 'however long it is');

my $six = visitor('edge1', '/a', '2001:db8:1:2::1');

is(visitor('edge2', '/a', '2001:db8:1:2:3::4'), $six, 'a /64 is one');
isnt(visitor('edge2', '/a', '2001:db8:1:3::1'), $six, 'another is another');
is(visitor('edge1', '/a', '::ffff:192.0.2.1'), $one, 'of IPv6, and is v4');

# what an event keeps

sub kept {
    my $row = row(click('edge1', @_, '192.0.2.1'));

    return join ' ', map { $_ // '-' } @$row{qw(country device os language
        referrer visitor address)};
}

is(kept('/a'), "AT desktop linux de from.example $one 192.0.2.0/24",
   'all of it');
is(kept('/off/a'), " desktop linux de from.example  192.0.2.0/24",
   'no visitor');
is(kept('/some/a'), "AT      -", 'some');
$t->sql('delete from usher.click');
click('edge1', '/none/a', '192.0.2.1');
$t->wait_for(sub {
    $t->sql("select count(*) from usher.click where address is null
             and sub5 || visitor || country || device || os || language
                 || referrer = ''") == 1;
}, 'or nothing');

# where the salt is

my $day = int(time / 86400);
my $salt = $t->redis_cli("get usher:salt:$day");

like($salt, qr/^[0-9a-f]{32}$/, 'a salt in Redis');

my $left = 86400 * ($day + 1) - time;
my $ttl = $t->redis_cli("ttl usher:salt:$day");

cmp_ok(abs($ttl - $left - 60), '<', 30, 'which dies with the day');
is(join(' ', grep { !/dump\.rdb|appendonly/ }
        split /\n/, `grep -rla $salt $t->{dir}`),
   '', 'and nowhere else');

$t->redis_cli("del usher:salt:$day");
$t->redis_cli('client kill type normal');
$t->wait_for(sub { $t->redis_cli("get usher:salt:$day") eq $salt },
             'lost, it is given back');

# midnight, without Redis: in the evening before it is known

ahead_by($t, $left - 3600);
$t->wait_for(sub { $t->redis_cli('exists usher:salt:' . ($day + 1)) },
             'in the evening that of tomorrow', 70);
sleep 2;
$t->stop('redis');
ahead_by($t, $left + 30);
is(salt('edge1'), 'common', 'after midnight, Redis away: common to all');
my @midnight = map { click($_, '/a', '192.0.2.1') } 'edge1', 'edge2';

# the midnight after that it is not

ahead_by($t, $left + 86400 + 30);
$t->wait_for(sub { salt('edge1') eq 'own' && salt('edge2') eq 'own' },
             'a day later: each node has its own');
my @own = map { click('edge1', '/a', '192.0.2.1') } 1, 2;
push @own, click('edge2', '/a', '192.0.2.1');
like($t->error_log, qr/no salt of the day from Redis: "no answer"/, 'said');
$t->start('redis');
$t->wait_for(sub { salt('edge1') eq 'common' && salt('edge2') eq 'common' },
             'Redis is back: the common one', 30);
like($t->error_log, qr/is that of all nodes again/, 'said');

my @night = map { row($_)->{visitor} } @midnight;

is($night[0], $night[1], 'one visitor at both nodes');
isnt($night[0], $one, 'but another than the day before');

@own = map { row($_) } @own;
is($own[0]{visitor}, $own[1]{visitor}, 'with its own a node knows him');
is("$own[0]{reason} $own[1]{reason}", '0 21', 'and that he has been here');
isnt($own[2]{visitor}, $own[0]{visitor}, 'the other one does not');

done_testing();
