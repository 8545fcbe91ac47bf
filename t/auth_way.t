#!/usr/bin/perl

# Ways past a check: a location that lets others in, a redirect, an error
# page, a subrequest, a plan that cannot be known, a client that left, a worker
# that ends.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

use IO::Select;
use IO::Socket::INET;

my $slow = IO::Socket::INET->new(Listen => 9, LocalAddr => '127.0.0.1',
                                 Proto => 'tcp');
my $slowly = $slow->sockport;
my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF' =~ s/PORT_SLOW/$slowly/r);
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_auth_failures off;
    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;
    log_format test "$uri|$http_x_api_key|$http_authorization";

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/access.log test;
        add_header X-Who "$usher_org/$usher_org_id/$usher_scope/$usher_key_id"
                         always;

        location / {
            usher_auth on;
        }

        location /any/ {
            satisfy any;
            ssi on;
            usher_auth on;
            auth_basic "closed";
            auth_basic_user_file %%DIR%%/html/users;
        }

        location /any/in/ {
            usher_auth on;
            auth_basic off;
        }

        location /page/ {
            usher_auth on;
            error_page 401 =200 /free/x;
        }

        location /free/ {
            usher_limit free rate=1r/h key=all;
        }

        location /plan/ {
            usher_auth on;
            usher_limit plan dry_run;
            usher_limit held rate=1r/h key=all;
        }

        location /gone/ {
            usher_auth on;
            post_action @gone;
        }

        location @gone {
            proxy_pass http://127.0.0.1:PORT_SLOW;
        }

        location /close/ {
            usher_limit close rate=1r/h key=all;
            usher_limit_status 444;
        }

        location /keep/ {
            usher_auth on preflight=pass;
            usher_credential_strip off;
            try_files /none /strip/x;
        }

        location /strip/ {
            usher_auth on;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /preflight/ {
            usher_auth on preflight=pass;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        location / {
            return 200 "key:$http_x_api_key$http_authorization.";
        }
    }
CONF

my $html = 'edge1/html';

mkdir $t->dir . "/$html/$_" for qw(any any/in page free plan close keep strip);
$t->write_file("$html/users", "u:{PLAIN}p\n");
$t->write_file("$html/$_", "content of $_")
    for qw(index.html any/in/x free/x plan/x close/x);
$t->write_file("$html/any/page.html", '<!--#include virtual="/any/in/x" -->');

my $key = $d->key(scope => 'read');
my $revoked = $d->key(state => 'revoked', id => 77);
my @basic = (Authorization => 'Basic dTpw');
my $r;

# a subrequest needs what its own location asks for

$r = $t->get('/any/page.html', @basic);
is($r->status, 200, 'admitted by a password');
unlike($r->body, qr/content of/, 'which is no key for a part');
like($t->get('/any/page.html', 'X-API-Key' => $key)->body,
     qr{content of any/in/x}, 'a key is');

# who is refused is nobody

$r = $t->get('/any/page.html', @basic, 'X-API-Key' => $revoked);
is($r->status, 200, 'a revoked key and a password');
is($r->header('X-Who'), '///77', 'lend no organization');
is($t->get('/', 'X-API-Key' => $revoked)->header('X-Who'), '///77',
   'nor does a refused one');
like($t->get('/', 'X-API-Key' => $key)->header('X-Who'),
     qr{^acme/5/read/\d+$}, 'a good key does');

# a refusal's status is its own, whatever led to it

is($t->get('/page/x')->status, 200, 'error_page with another status');
$r = $t->get('/page/x');
is($r->status, 429, 'the page is limited');
is($r->json->{status}, 429, 'and says so');

# a plan that cannot be known and would refuse nobody

my $planned = $d->key(plan_id => 9);
$t->redis_cli('set', 'usher:d:plan:9', 'corrupt');
is($t->get('/plan/x', 'X-API-Key' => $planned)->status, 200, 'dry run');
is($t->get('/plan/x', 'X-API-Key' => $planned)->status, 429,
   'leaves the other limits as they are');

$t->get('/close/x');
is($t->get('/close/x')->raw, '', '444 closes the connection');

# keys stay here

my @preflight = (Origin => 'http://a.test',
                 'Access-Control-Request-Method' => 'GET');
$r = $t->request('OPTIONS', '/preflight/x', undef, @preflight,
                 'X-API-Key' => $key);
is($r->body, 'key:.', 'the key of a preflight is stripped');
is($t->get('/keep/x', 'X-API-Key' => $key)->body, 'key:.',
   'and one that another location kept');
is($t->get('/keep/x', Authorization => "Bearer $key")->body, 'key:.',
   'or its Authorization');

# an IPv6 network of 15 characters is no 255.255.255.255

my $home = $d->key(allow => '2001:db8:abcd::/48');

for (['2001:db8:abcd::1', 200], ['2001:db8:abce::1', 403]) {
    is($t->get('/', 'X-API-Key' => $home, 'X-Real-IP' => $_->[0])->status,
       $_->[1], "address $_->[0]");
}

# Redis does not answer: it is said which kind of problem that is

$t->signal('redis', 'STOP');
$r = $t->get('/', 'X-API-Key' => Usher::Key::text());
is($r->status, 503, 'cannot be known');
like($r->json->{type}, qr/#temporary-reduced-capacity$/, 'its type');

# who left while it waited is not resumed in its post_action

my $away = $t->connect;
print $away "GET /gone/x HTTP/1.1\r\nHost: a\r\nX-API-Key: "
            . Usher::Key::text() . "\r\n\r\n";
select undef, undef, undef, 0.005;
close $away;

my $select = IO::Select->new($slow);
my @slow;
push @slow, scalar $slow->accept while $select->can_read(@slow ? 0.3 : 10);
is(scalar @slow, 1, 'a post_action is done once');
close $_ for @slow;

# a worker that ends answers who waits

my $waits = $t->connect;
my $text = Usher::Key::text();
print $waits "GET / HTTP/1.1\r\nHost: a\r\nX-API-Key: $text\r\n\r\n";
select undef, undef, undef, 0.005;
kill 'QUIT', $t->workers;
my $answer = '';
1 while IO::Select->new($waits)->can_read(10)
        && sysread $waits, $answer, 4096, length $answer;
like($answer, qr{^HTTP/1.1 503 }, 'answered by a worker that ends');
$t->signal('redis', 'CONT');

unlike($t->slurp($t->dir . '/edge1/access.log'), qr/_live_/,
       'no key in the log');

done_testing();
