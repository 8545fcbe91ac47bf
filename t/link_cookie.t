# The opt-in cookie: who gets one, and what stays in it; curl's jar is the
# browser.

use lib 't/lib';
use Usher::Postback;
use Usher::Test;


my $t = Usher::Test->new;
my $dir = $t->dir;

system("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost "
       . "-keyout $dir/tls.key -out $dir/tls.crt >$dir/openssl.log 2>&1") == 0
    or die 'openssl: ', $t->slurp("$dir/openssl.log");
chmod 0644, "$dir/tls.key";
$t->write_file('bots.list', $t->slurp($t->top . '/conf/bots.list'));

world($t, http => 'usher_bots file=%%DIR%%/../bots.list;', server => <<'CONF');
        listen 127.0.0.1:%%PORT_tls%% ssl;
        ssl_certificate %%DIR%%/../tls.crt;
        ssl_certificate_key %%DIR%%/../tls.key;

        location ~ ^/c/(?<slug>.*)$ { usher_link_cookie clicks max-age=2d; usher_link $slug; }
        location ~ ^/host/(?<slug>.*)$ { usher_link_cookie __Host-c; usher_link $slug; }
        location ~ ^/dc/(?<slug>.*)$ {
            usher_link_cookie clicks; usher_link_datacentre 1; usher_link $slug;
        }
        location ~ ^/if/(?<slug>.*)$ {
            usher_link $slug;
            if ($cookie_consent = yes) { usher_link_cookie clicks domain=shop.example; }
        }
        location ~ ^/in/ {
            usher_link_cookie clicks;
            location ~ ^/in/off/(?<slug>.*)$ { usher_link_cookie off; usher_link $slug; }
            location ~ ^/in/on/(?<slug>.*)$ { usher_link $slug; }
        }
CONF

$t->ctl("link add host=localhost slug=$_ program=shop url=https://shop.example/?$_={click_id}")
    for 'p', 'q';
$t->ctl('link add host=localhost slug=old program=shop url=https://shop.example/ '
        . 'overflow=https://shop.example/over expires=2026-01-01');

my $browser = 'Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0';

sub ask { $t->request($_[1] // 'GET', $_[0], '', %{{ 'User-Agent' => $browser, @_[2 .. $#_] }}) }

sub cookie { ask(@_)->header('Set-Cookie') // 'none' }

$t->wait_for(sub { ask("/c/$_")->status == 302 }, "link $_ is known") for 'p', 'q', 'old';

# who gets one

my $answer = ask('/c/p');
my ($id) = $answer->header('Location') =~ /p=([a-z2-7]{32})$/;
my $rest = qr/; Path=\/; Max-Age=172800; HttpOnly; SameSite=Lax$/;

is($answer->header('Set-Cookie'), "clicks=$id; Path=/; Max-Age=172800; HttpOnly; SameSite=Lax",
   'the id of the click');
like(cookie('/c/p'), qr/^clicks=[a-z2-7]{32}$rest/, 'a duplicate as well');
like(cookie('/c/old'), qr/^clicks=[a-z2-7]{32}$rest/, 'and who is sent elsewhere');
is(cookie('/go/p'), 'none', 'not by default');
is(cookie('/c/a'), 'none', 'not of a link without a program');
is(cookie('/c/nope'), 'none', 'nor of what is no link');
is(cookie('/c/p', 'HEAD'), 'none', 'not for HEAD');
is(cookie('/c/p', 'GET', 'Sec-Purpose' => 'prefetch'), 'none', 'not for a prefetch');
is(cookie('/c/p', 'GET', 'User-Agent' => 'Googlebot/2.1'), 'none', 'not for a bot');
is(cookie('/c/p', 'GET', 'User-Agent' => ''), 'none', 'nor for who says nothing');
is(cookie('/dc/p'), 'none', 'nor for a data centre');
is(cookie('/in/off/p'), 'none', 'nor where it is off');
like(cookie('/in/on/p'), qr/Max-Age=2592000;/, 'for 30 days where nothing is said');
is(cookie('/if/p'), 'none', 'not without consent');
like(cookie('/if/p', 'GET', Cookie => 'consent=yes'), qr/; SameSite=Lax; Domain=shop\.example$/,
     'with it, for all hosts of the site');
like(cookie('/host/p'), qr/^__Host-c=\w+; Path=\/; .*; Secure$/, 'a name that is Secure always');

# what stays in it

sub kept { cookie('/c/p', 'GET', Cookie => "a=b; clicks=$_[0]; c=d") =~ s/^clicks=(.*?);.*/$1/r }

my $forged = $id =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/er;

like(kept($id), qr/^$id\.[a-z2-7]{32}$/, 'the ids before it');
like(kept("$forged.x"), qr/^[a-z2-7]{32}$/, 'but what is not ours');
like(kept('x' x 4000), qr/^[a-z2-7]{32}$/, 'and no junk');

# a browser keeps it, and sends it back

sub curl {
    my ($base, $path) = @_;

    open my $pipe, '-|', 'curl', '-skA', $browser, '-b', "$dir/jar", '-c', "$dir/jar",
        '-w', '%{http_code} %{redirect_url}', '-o', "$dir/body", "$base$path" or die "curl: $!";
    return join '', <$pipe>;
}

sub jar { ($t->slurp("$dir/jar") =~ /^#HttpOnly_localhost\tFALSE\t\/\t(\w+\t\d+\tclicks\t\S+)$/m)[0] // 'none' }

my $http = 'http://localhost:' . $t->port('edge1');
my @ids = map { (curl($http, "/c/$_") =~ /([a-z2-7]{32})$/)[0] } 'p', 'q', 'q', 'p', 'q';

like(jar(), qr/^FALSE\t\d+\tclicks\t$ids[0]\.$ids[1]\.$ids[3]\.$ids[4]$/,
     'of each link the first and the last, newest last');
unlink "$dir/jar";

my ($safe) = curl('https://localhost:' . $t->port('edge1_tls'), '/c/p') =~ /([a-z2-7]{32})$/;

like(jar(), qr/^TRUE\t\d+\tclicks\t$safe$/, 'Secure on https');

# configurations

for my $case (
    [ 'usher_link_cookie ""', 'the name of a cookie is 1 to 64 letters' ],
    [ 'usher_link_cookie a=b', 'the name of a cookie' ],
    [ 'usher_link_cookie ' . 'a' x 65, 'the name of a cookie' ],
    [ 'usher_link_cookie a max-age=0', 'max-age is 1s to 400d, not "0"' ],
    [ 'usher_link_cookie a max-age=401d', 'max-age is 1s to 400d' ],
    [ 'usher_link_cookie a max-age=x', 'max-age is 1s to 400d' ],
    [ 'usher_link_cookie a domain=', 'invalid parameter "domain="' ],
    [ 'usher_link_cookie a "domain=a; x"', 'invalid parameter "domain=a; x"' ],
    [ 'usher_link_cookie a secure', 'invalid parameter "secure"' ],
    [ 'usher_link_cookie __Host-a domain=shop.example', 'that browsers take without domain= only' ],
    [ 'usher_link_cookie a; usher_link_cookie b', 'is duplicate' ],
) {
    my ($code, $text) = $t->nginx_test('usher_zone 1m; usher_redis %%REDIS%%; usher_journal %%DIR%%/journal; '
        . "server { listen 127.0.0.1:%%PORT%%; location / { $case->[0]; } }");

    ok($code != 0 && $text =~ /\Q$case->[1]\E/, "not $case->[0]") or diag($text);
}

done_testing();
