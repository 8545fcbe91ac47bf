# What a node counts of clicks: by reason and by status, as rows have it, over
# workers that come and go.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
$t->ctl('org create name=acme');
$t->ctl('domain add host=localhost org=acme');
$t->ctl('program create org=acme name=p side=own currency=EUR hosts=www.shop.example');

my $url = 'url=https://shop.example/';

$t->ctl("link add host=localhost slug=$_->[0] $url $_->[1]")
    for [ 302, '' ], [ 301, 'status=301' ], [ 307, 'status=307' ], [ 308, 'status=308' ],
        [ 'ended', 'expires=2026-01-01' ], [ 'deep', 'program=p' ];
$t->sql("insert into usher.link (org_id, host, slug, url, pass_query)
         values (1, 'localhost', 'loop', 'http://localhost/loop', false),
                (1, 'localhost', 'long', 'https://shop.example/{sub1}{sub1}{sub1}', true)");

$t->write_file('bots.list', $t->slurp($t->top . '/conf/bots.list'));
$t->nginx(<<'CONF', workers => 2);
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m;
    usher_bots file=%%DIR%%/../bots.list;
    large_client_header_buffers 4 32k;

    server {
        listen 127.0.0.1:%%PORT%%;
        location = /status { usher_status; }
        location = /metrics { usher_metrics; }
        location ~ ^/dc/(?<slug>.*)$ { usher_link_datacentre 1; usher_link $slug; }
        location ~ ^/refuse/(?<slug>.*)$ { usher_link_prefetch refuse; usher_link $slug; }
        location ~ ^/seen/(?<slug>.*)$ { usher_link $slug; }
        location ~ ^/(?<slug>.*)$ { usher_link_visitor off; usher_link $slug; }
    }
CONF

my $n = 0;

sub click {
    my ($uri, $method, %with) = @_;
    my $status = $t->request($method // 'GET', "/$uri", '',
                             %{{ 'User-Agent' => 'Mozilla/5.0 (x)', %with }})->status;

    $n += $status < 500 || $uri =~ /refuse/;
    return $status;
}

# the words that both have, without those of nothing

sub counted {
    my %of = %{ $t->get('/status')->json->{ $_[0] } };
    my %in = $t->get('/metrics')->body =~ /^usher_$_[0]_total\{\w+="(\w+)"\} (\d+)$/mg;

    is_deeply(\%in, \%of, "$_[0]: the status has what metrics have");
    return { map { $of{$_} ? ($_ => $of{$_}) : () } keys %of };
}

sub stored { return { map { @$_ } $t->rows($_[0]) } }

$t->wait_for(sub { click('302') == 302 }, 'a link is known');
$t->wait_for(sub { $t->get('/status')->json->{directory}{salt} eq 'common' }, 'a salt');

click($_) for 301, 302, 302, 307, 307, 307, 308, 'ended', 'loop', 'long?sub1=' . 'x' x 4000,
              'none', 'none?a', 'dc/302', 'deep?to=nothing',
              'deep?to=https%3A%2F%2Fother.example%2F';
click('302', 'GET', 'User-Agent' => '');
click('302', 'GET', 'User-Agent' => 'Googlebot/2.1');
click('302', 'HEAD');
is(click('refuse/302', 'GET', 'Sec-Purpose' => 'prefetch'), 503, 'a prefetch that is refused');
click('seen/302') for 1 .. 2;

$t->wait_for(sub { $t->sql('select count(*) from usher.click') == $n }, "$n rows");

my $by_reason = 'select r.word, count(*)::integer from usher.click c
                 join usher.click_reason r on r.reason = c.reason group by 1';
my $by_status = 'select c.status, count(*)::integer from usher.click c
                 where c.status between 300 and 399 group by 1';

is_deeply(counted('clicks'), stored($by_reason), 'by reason as in rows');
is_deeply(counted('redirects'), stored($by_status), 'by status as in rows');
cmp_ok(keys %{ counted('clicks') }, '>=', 11, 'most reasons there are');

$t->kill9('worker');
$t->wait_for(sub { $t->workers == 2 && $t->get('/status')->status == 200 }, 'a worker dies');
click($_) for 302, 'none';
$t->wait_for(sub { $t->sql('select count(*) from usher.click') == $n }, 'two more');
is_deeply(counted('clicks'), stored($by_reason), 'it counts as before');

done_testing();
