#!/usr/bin/perl

# One TLS listener for HTTP/1.1 and HTTP/2, as a site has it: keys are
# admitted, stripped, hidden and limited as they are without TLS.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);
my $dir = $t->dir;

system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
       . "-keyout $dir/tls.key -out $dir/tls.crt >$dir/openssl.log 2>&1") == 0
    or die 'openssl: ', $t->slurp("$dir/openssl.log");
chmod 0644, "$dir/tls.key";

# since 1.25.1 HTTP/2 is a directive of its own

my $nginx = Usher::Test::Nginx::nginx_binary();
my @version = `$nginx -v 2>&1` =~ m{nginx/(\d+)\.(\d+)\.(\d+)};
my $new = sprintf('%d%03d%03d', @version) >= 1_025_001;
my $listen = $new ? 'ssl; http2 on;' : 'ssl http2;';

$t->nginx(<<"CONF");
    usher_zone 1m;
    usher_redis %%REDIS%%;
    log_format test "\$request|\$server_protocol|\$ssl_protocol|\$args|"
                    "\$http_x_api_key|\$http_authorization|\$usher_auth_status";

    server {
        listen 127.0.0.1:%%PORT%% $listen
        ssl_certificate %%DIR%%/../tls.crt;
        ssl_certificate_key %%DIR%%/../tls.key;
        access_log %%DIR%%/access.log test;

        location / {
            usher_auth on;
            usher_credential \$http_authorization \$http_x_api_key \$arg_key;
            usher_limit few rate=3r/d key=\$usher_key_id;
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        return 200 "got \$http_x_api_key|\$http_authorization|\$args|";
    }
CONF

my $url = 'https://localhost:' . $t->port('edge1');


# "version status", fields, body; curl checks the certificate

sub ask {
    my ($http, $path, @headers) = @_;

    open my $fh, '-|', 'curl', '-s', "--$http", '--ipv4', '--noproxy', '*',
         '--cacert', "$dir/tls.crt", '-D', "$dir/fields",
         '-w', '\n%{http_version} %{http_code}', (map { ('-H', $_) } @headers),
         "$url$path" or die "curl: $!\n";
    my $text = do { local $/; <$fh> } // '';
    close $fh;

    my ($body, $status) = $text =~ /^(.*)\n(.*)$/s;

    return ($status, lc $t->slurp("$dir/fields"), $body);
}


my @secret;

for (['http1.1', '1.1'], ['http2', '2']) {
    my ($http, $version) = @$_;
    my $key = $d->key;
    my $other = Usher::Key::text();
    my $x = 'x' x length $key;

    push @secret, $key, $other;

    my ($status, $fields, $body) = ask($http, '/', "X-API-Key: $key");
    is($status, "$version 200", "$http: X-API-Key");
    is($body, 'got |||', 'is not proxied');
    like($fields, qr/^ratelimit: "few";r=2\r$/m, 'and limited');

    ($status, $fields, $body) = ask($http, '/', "Authorization: Bearer $key");
    is("$status $body", "$version 200 got |||", 'Bearer');

    ($status, $fields, $body) = ask($http, "/?a=1&key=$key");
    is("$status $body", "$version 200 got ||a=1&key=$x|", 'an argument');
    like($fields, qr/^cache-control: private\r$/m, 'its answer is private');

    ($status, $fields, $body) = ask($http, '/', "X-API-Key: $key");
    is($status, "$version 429", 'over the limit');
    like($fields, qr/^retry-after: \d+\r$/m, 'Retry-After');

    ($status, $fields, $body) = ask($http, '/', "X-API-Key: $key",
                                    "Authorization: Bearer $other");
    is($status, "$version 400", 'two keys');

    # on a busy machine the look-up may take more than its 50 ms

    for (1 .. 5) {
        ($status, $fields, $body) = ask($http, '/', "X-API-Key: $other");
        last if $status ne "$version 503";
        sleep 1;
    }

    is($status, "$version 401", 'an unknown one');
    like($fields, qr/^www-authenticate: bearer realm="api", error=/m,
         'challenge');
    like($body, qr/"reason":"unknown"/, 'problem');
}

my $log = $t->slurp("$dir/edge1/access.log");

like($log, qr{^GET / HTTP/1.1\|HTTP/1.1\|TLSv1.\d\|.*\|ok$}m, 'HTTP/1.1 logged');
like($log, qr{^GET /\?a=1&key=x+ HTTP/2.0\|HTTP/2.0\|TLSv1.\d\|.*\|ok$}m,
     'HTTP/2 logged');
unlike($log . $t->error_log, qr/\Q$_\E/, 'without a key') for @secret;

done_testing();
