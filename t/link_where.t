# Links in all sorts of places of a configuration: each click is a click of
# its own, and nothing of another request is seen.

use lib 't/lib';
use Usher::Test;
use Usher::Secret;

use IO::Socket::INET;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
click_key($t);

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => '$_->[0]', "
    . "url => 'https://shop.example/$_->[0]', referrer_policy => '$_->[1]')")
    for ['one', 'no-referrer'], ['two', 'strict-origin-when-cross-origin'];

$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_key_file %%DIR%%/keys;
    usher_journal %%DIR%%/journal size=16m segment=1m;
    log_format policy '$request_uri $sent_http_referrer_policy';

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/policy.log policy;

        location ~ ^/(?<slug>[^/]*)$ {
            usher_link $slug;
        }

        location /if/ {
            if ($arg_x) {
                add_header X-If yes;
            }

            usher_link two;
        }

        location /except/ {
            limit_except HEAD {
                allow all;
            }

            usher_link two;
        }

        location /lost/ {
            error_page 404 = /two;
            usher_link none;
        }
    }
CONF

sub answer {
    my ($uri) = @_;
    my $response = $t->get($uri, 'User-Agent' => 'Mozilla/5.0 (Macintosh) x');

    return $response->status . ' ' . ($response->header('Location') // '');
}

my $two = '302 https://shop.example/two';

$t->wait_for(sub { answer('/two') eq $two && answer('/one') =~ /^302/ },
             'links are known');
is(answer('/if/?x=1'), $two, 'an "if" keeps the link');
is(answer('/except/'), $two, 'a limit_except too');
is(answer('/lost/'), $two, 'an error_page may be another click');

# logged when its body has come, and others were answered meanwhile

my $socket = IO::Socket::INET->new('127.0.0.1:' . $t->port('edge1'));

print $socket "GET /one?late HTTP/1.1\r\nHost: localhost\r\n"
    . "Content-Length: 1\r\n\r\n";
sysread $socket, my $head, 4096;
like($head, qr/\nReferrer-Policy: no-referrer\r\n/, 'a policy is sent');
answer('/two');
print $socket 'x';

$t->wait_for(sub { $t->slurp($t->dir . '/edge1/policy.log') =~ m{/one\?late} },
             'and logged');
like($t->slurp($t->dir . '/edge1/policy.log'), qr{/one\?late no-referrer\n},
     'as it was sent');

$t->wait_for(sub { $t->sql("select count(*) = 1 from usher.click "
    . "where slug = 'none'") }, 'clicks are rows');
is($t->sql("select count(*) - count(distinct click_id) from usher.click
            where click_id <> ''"), 0, 'each has its own id');

done_testing();
