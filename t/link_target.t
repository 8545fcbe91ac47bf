# Targets: conditions, steps, and a split that is sticky without a cookie.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => '$_', "
    . "url => 'https://shop.example/else')") for qw(rules split);

sub target {
    my ($slug, $name, %with) = @_;

    $with{url} //= "https://shop.example/$name";
    $t->sql("select api.link_target_set(host => 'localhost', "
        . "slug => '$slug', target => '$name', "
        . join(', ', map { "$_ => '$with{$_}'" } sort keys %with) . ')');
}

target('rules', 'past', ends => '2026-01-01', step => 1);
target('rules', 'future', starts => '2100-01-01', step => 1);
target('rules', 'iphone', os => 'ios', device => 'mobile', step => 2);
target('rules', 'dach', country => 'de, at ch', step => 3);
target('rules', 'german', language => 'de', step => 4);
target('rules', 'zurich', language => 'de-CH', step => 3);
target('rules', 'news', referrer => '*.news.example', step => 5);
target('rules', 'nobody', weight => 0, step => 1);

target('split', 'a', weight => 70);
target('split', 'b', weight => 30);

$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m;

    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;

    server {
        listen 127.0.0.1:%%PORT%%;

        location ~ ^/(?<slug>.*)$ {
            usher_link $slug;
            usher_link_country $http_x_country;
            usher_link_device $http_x_device;
            usher_link_os $http_x_os;
            usher_link_datacentre $http_x_datacentre;
        }
    }
CONF

sub where_to {
    my ($slug, @headers) = @_;
    my $location = $t->get("/$slug", @headers)->header('Location') // '';

    return $location =~ m{^https://shop\.example/(\w+)$} ? $1 : $location;
}

$t->wait_for(sub { where_to('rules') eq 'else' }, 'no condition holds');
is(where_to('rules', 'X-Country' => 'AT'), 'dach', 'a country');
is(where_to('rules', 'X-Country' => 'at'), 'dach', 'in small letters');
is(where_to('rules', 'X-Country' => 'A'), 'else', 'a part of one is none');
is(where_to('rules', 'X-Country' => '-'), 'else', 'unknown is none');
is(where_to('rules', 'X-OS' => 'ios'), 'else', 'all conditions of a target');
is(where_to('rules', 'X-OS' => 'ios', 'X-Device' => 'mobile',
            'X-Country' => 'DE'), 'iphone', 'the lowest step first');
is(where_to('rules', 'Accept-Language' => 'de-AT'), 'german', 'a language');
is(where_to('rules', 'Accept-Language' => 'de-ch, en'), 'zurich',
   'with its region');
is(where_to('rules', 'Accept-Language' => 'en;q=0.9, de;q=0.8'), 'else',
   'the one that is liked best');
is(where_to('rules', 'Accept-Language' => 'en;q=0.1,de;q=0.8'), 'german',
   'wherever it stands');
is(where_to('rules', 'Accept-Language' => 'zh-Hant-TW'), 'else', 'a script');
is(where_to('rules', 'Accept-Language' => 'denglish'), 'else', 'no language');
is(where_to('rules', Referer => 'https://www.News.example/a?b'), 'news',
   'a referrer');
is(where_to('rules', Referer => 'https://news.example/'), 'else',
   'the bare host is another');
is(where_to('rules', Referer => 'https://www.news.example@evil.example/'),
   'else', 'no user is a host');

# a visitor is always sent to the same; 400 of them as the weights say, within
# six times the standard deviation of a fair one

my %seen;

for my $n (1 .. 400) {
    my @visitor = ('X-Real-IP' => "10.1." . ($n >> 8) . '.' . ($n & 255));
    my $target = where_to('split', @visitor);

    $seen{$target}++;
    $seen{moved}++ if $n % 10 == 0 && where_to('split', @visitor) ne $target;
}

is($seen{moved}, undef, 'sticky');
is($seen{a} + $seen{b}, 400, 'one or the other');
cmp_ok(abs($seen{a} - 280), '<', 6 * sqrt(400 * 0.7 * 0.3), 'by weight');

target('split', 'b', weight => 0);
$t->wait_for(sub { !grep { where_to('split', 'X-Real-IP' => "10.1.0.$_")
                               ne 'a' } 1 .. 20 }, 'weights change');
$t->sql("select api.link_target_drop(host => 'localhost', slug => 'split', "
    . "target => 'a')");
$t->wait_for(sub { where_to('split') eq 'else' }, 'no target is left');

# labels

$t->get('/rules', 'X-Datacentre' => 'hetzner', 'Sec-Purpose' => 'prefetch',
        'User-Agent' => 'Mozilla/5.0 (Windows NT 10.0) Firefox/130.0');
$t->wait_for(sub {
    $t->sql('select count(*) from usher.click where reason = 13') == 1;
}, 'the lowest reason is the click\'s');

done_testing();
