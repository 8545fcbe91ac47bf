# The cookie of clicks at the pixel of a shop: all of its ids are presented, and
# the program chooses; what is no good is said, and refuses nothing.

use lib 't/lib';
use Usher::Postback;
use Usher::Test;


my $t = Usher::Test->new;
my $dir = $t->dir;

world($t, server => <<'CONF');
        location ~ ^/c/(?<slug>.*)$ { usher_link_cookie clicks; usher_link $slug; }
        location ~ ^/px/(?<token>[a-z2-7]+)$ { usher_conversion $token cookie=clicks; }
        location = /pb { usher_conversion cookie=clicks; }
        location ~ ^/no/(?<token>[a-z2-7]+)$ { usher_conversion $token; }
CONF

$t->ctl("link add host=localhost slug=$_ program=shop url=https://shop.example/?$_={click_id}")
    for 'p', 'q';

my $browser = 'Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0';

$t->wait_for(sub { $t->get("/c/$_", 'User-Agent' => $browser)->header('Set-Cookie') }, "link $_ is known")
    for 'p', 'q';

# a browser: two clicks, and the shop's pixel

my $pixel = $t->ctl('postback add org=acme name=pixel program=shop pixel=true '
                    . 'endpoint=https://go.example/p/{postback}')->{url};
my ($token) = $pixel =~ m{/p/([a-z2-7]{26})};

known($t, "/p/$token");

sub curl {
    my ($base, $path) = @_;

    open my $pipe, '-|', 'curl', '-skA', $browser, '-b', "$dir/jar", '-c', "$dir/jar",
        '-w', '%{http_code} %{redirect_url}', '-o', "$dir/body", "$base$path" or die "curl: $!";
    return join '', <$pipe>;
}

my $http = 'http://localhost:' . $t->port('edge1');
my @ids = map { sleep 1; (curl($http, "/c/$_") =~ /([a-z2-7]{32})$/)[0] } 'p', 'q', 'q', 'p', 'q';
my ($first, $second, $last, $newest) = @ids[0, 1, 3, 4];

is(curl($http, "/px/$token?transaction_id=t1&amount=5"), '200 ', 'the pixel');
is_deeply(event($t, 'click_status, click_id, cookie, origin', 't1'),
          [ 0, $newest, "$first.$second.$last.$newest", 'pixel' ],
          'has of each link the first and the last, newest last');

sub bound {
    my ($transaction) = @_;

    $t->wait_for(sub { $t->sql('select count(*) from usher.conversion where transaction_id = ?',
                               $transaction) }, "conversion $transaction");
    return $t->sql("select l.slug || ' ' || c.via || ' ' || c.click_id from usher.conversion c
                    left join usher.link l on l.id = c.link_id where c.transaction_id = ?",
                   $transaction) // 'none';
}

is(bound('t1'), "q click $newest", 'the last click has it');
$t->ctl('program update org=acme program=shop attribution=first');
curl($http, "/px/$token?transaction_id=t2");
is(bound('t2'), "p click $first", 'or the first, as the program says');
curl($http, "/px/$token?transaction_id=t3&click_id=$second");
is_deeply(event($t, 'click_id, cookie', 't3'), [ $second, '' ], 'an id in the query is the one');

# cookies that are no good refuse nothing, and are said

my $id = $first;
my $forged = $id =~ s/(.)$/$1 eq 'a' ? 'b' : 'a'/er;

sub px { $t->get("/px/$token?" . $_[0], 'User-Agent' => $browser, Cookie => "clicks=$_[1]") }

for my $case ([ forged => $forged, 4 ], [ key => $id =~ s/^(.)./$1e/r, 3 ], [ junk => 'a b', 2 ],
              [ much => 'x' x 300, 2 ], [ empty => '', 1 ]) {
    my ($name, $value, $status) = @$case;

    is(px("transaction_id=$name", $value)->status, 200, "a cookie, $name");
    is_deeply(event($t, 'click_status, click_id, cookie', $name), [ $status, '', '' ],
              '... is said, and not kept');
}

px("transaction_id=both", "$forged.$id");
is_deeply(event($t, 'click_status, click_id, cookie', 'both'), [ 0, $id, $id ], 'a good one beside it counts');
is(said(px('amount=1', 'x')), '400 no_transaction', 'a bad one is no transaction');
is(px('amount=1', $id)->status, 200, 'a good one is, where there is none');
is(event($t, 'amount', $id)->[0], '1', '... as in a query');

my $net = postback($t, 'name=net network=net') =~ s/postback/pb/r;

is($t->get("$net&transaction_id=s1", Cookie => "clicks=$id")->status, 200, 'who is no browser');
is_deeply(event($t, 'click_status, cookie', 's1'), [ 1, '' ], 'has no cookie');

is($t->get("/no/$token?transaction_id=off", Cookie => "clicks=$id")->status, 200, 'off by default');
is_deeply(event($t, 'click_status, cookie', 'off'), [ 1, '' ], '... nobody looks at it');

for my $case ([ 'cookie=', 'the name of a cookie' ], [ '$a $b', 'has two tokens' ]) {
    my ($code, $text) = $t->nginx_test('usher_zone 1m; usher_redis %%REDIS%%; usher_journal %%DIR%%/journal; '
        . "server { listen 127.0.0.1:%%PORT%%; location / { usher_conversion $case->[0]; } }");

    ok($code != 0 && $text =~ /\Q$case->[1]\E/, "not $case->[0]") or diag($text);
}

done_testing();
