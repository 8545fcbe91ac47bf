# Ten thousand links come while an edge is at work: what it knows it goes on
# serving without asking anybody, and what was missing is there.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
$t->ctl('org create name=acme');
$t->ctl('domain add host=localhost org=acme');
$t->ctl('link add host=localhost slug=known url=https://shop.example/known');

my $key = $t->ctl('key create org=acme')->{key};

sub rest { $t->sql('select count(*) from usher.directory_outbox') }

# it begins where the changes end: none of these comes late

$t->wait_for(sub { !rest() }, 'all is in Redis');
$t->nginx(<<'CONF', workers => 1);
    usher_zone 8m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /status { usher_status; }

        location /v1/ {
            usher_auth on;
            return 204;
        }

        location ~ ^/go/(?<slug>.*)$ {
            usher_link $slug;
        }
    }
CONF

sub code_of { $t->get($_[0], 'X-API-Key' => $key)->status }

sub misses { $t->get('/status')->json->{counters}{directory_misses} }


$t->wait_for(sub { code_of('/go/known') == 302 && code_of('/v1/x') == 204 },
             'a link and a key are known');
is(code_of('/go/m1'), 404, 'one is not there');

my $before = misses();
my ($last) = (changes($t))[-1]->[0];
my $csv = $t->write_file('links.csv', join '', "host,slug,url\n",
    map { "localhost,m$_,https://shop.example/$_?c={click_id}\n" } 1 .. 10_000);

is($t->ctl("link import csv=\@$csv")->{added}, 10_000, 'ten thousand are added');

my ($asked, $other) = (0, '');

while (rest() || !$asked) {
    $asked++;
    $other .= " $_" for grep { !/302|204/ } map { code_of($_) } '/go/known', '/v1/x';
}

is($other, '', "the known ones were served ($asked times)");
is(misses(), $before, 'and nobody was asked for them');

my @seen = map { $_->[1] } changes($t, $last);

is((grep { $_->{k} ne 'link' || !$_->{n} || $_->{i} } @seen), 0,
   'edges heard that there are new links, and of no other');
cmp_ok(@seen, '<=', 50, 'in few words');
$t->wait_for(sub { code_of('/go/m1') == 302 }, 'what was missing is there');
is(code_of("/go/m$_"), 302, "as is m$_") for 5000, 10_000;
is(misses(), $before + 3, 'each was asked for once');

done_testing();
