# A real browser follows links: what it sends, keeps and fetches on the way.

use lib 't/lib';
use Usher::Postback;
use Usher::Test;


my ($chromium) = grep { -x } map { "$_/chromium" } split /:/, $ENV{PATH} // '';

plan(skip_all => 'no Chromium: util/install ci installs it') if !$chromium;

my $t = Usher::Test->new;
my $dir = $t->dir;

world($t, http => q{log_format seen '$host $uri|$http_referer';}, server => <<'CONF');
        location ~ ^/c/(?<slug>.*)$ { usher_link_cookie clicks; usher_link $slug; }
        location ~ ^/px/(?<token>[a-z2-7]+)$ { usher_conversion $token cookie=clicks; }
        location /page/ { root %%DIR%%/..; access_log %%DIR%%/../seen.log seen; }
CONF

# The links' host and a shop of one site, and a shop of another.

$t->ctl('domain add host=go.brand.example org=acme');
$t->ctl("link add host=go.brand.example slug=$_->[0] program=shop "
        . "url=http://$_->[1]/page/$_->[0].html?{click_id}")
    for [ 'same', 'shop.brand.example' ], [ 'other', 'shop.other.example' ];
$t->ctl('link add host=go.brand.example slug=quiet url=http://shop.brand.example/page/quiet.html '
        . 'referrer_policy=no-referrer untracked=true');

my ($token) = $t->ctl('postback add org=acme name=pixel program=shop pixel=true '
                      . 'endpoint=https://go.example/p/{postback}')->{url} =~ m{/p/([a-z2-7]{26})};

known($t, "/px/$token");
mkdir "$dir/page";
$t->write_file("page/$_.html", "<title>$_</title><img onload='this.alt = naturalWidth' "
               . "src='http://go.brand.example/px/$token?transaction_id=$_&amount=5'>")
    for 'same', 'other', 'quiet';
$t->write_file("page/to-$_.html", "<a href=http://go.brand.example/c/$_>buy</a>"
               . '<script>document.links[0].click()</script>') for 'same', 'quiet';
$t->write_file('page/hint.html', '<title>hint</title>'
               . '<link rel=prefetch href=http://go.brand.example/c/same>');

my ($port, $n) = ($t->port('edge1'), 0);

# The page that a new browser comes to.

sub visit {
    my ($url) = @_;

    $n++;
    open my $pipe, '-|', 'sh', '-c', 'exec "$@" 2>"$0"', "$dir/chromium$n.log",
        'timeout', 60, $chromium, '--headless', '--no-sandbox', '--disable-gpu',
        '--disable-dev-shm-usage', '--no-first-run', "--user-data-dir=$dir/profile$n",
        "--host-resolver-rules=MAP *.example 127.0.0.1:$port", '--virtual-time-budget=3000',
        '--dump-dom', $url or die "chromium: $!";
    my $dom = do { local $/; <$pipe> } // '';
    close $pipe or diag($t->slurp("$dir/chromium$n.log"));

    return $dom;
}

# Slug, reason and referrer of the clicks, by time.

sub clicks {
    $t->rows(q{select slug, reason, referrer, click_id from usher.click
               where host = 'go.brand.example' order by event_time});
}

# on a page of the links' site, and of another

like(visit('http://go.brand.example/c/same'), qr/<title>same.*alt="1"/s, 'the page, and a dot');
visit('http://go.brand.example/c/other');
$t->wait_for(sub { clicks() == 2 }, 'two clicks');

my @ids = map { $_->[3] } clicks();

is_deeply(event($t, 'click_status, click_id, cookie', 'same'), [ 0, $ids[0], $ids[0] ],
          'the cookie of the click comes with the pixel of the same site');
is_deeply(event($t, 'click_status, click_id, cookie', 'other'), [ 1, '', '' ],
          'not with that of another');

# from a page

visit('http://blog.other.example/page/to-same.html');
visit('http://blog.other.example/page/to-quiet.html');
visit('http://blog.other.example/page/hint.html');
$t->wait_for(sub { clicks() == 5 }, 'three more');
is(join(', ', map { join ' ', @$_[0 .. 2] } (clicks())[2 .. 4]),
   'same 21 blog.other.example, quiet 0 blog.other.example, same 14 blog.other.example',
   'the same visitor again, another link, and a prefetch: where they were');
is(join(', ', map { s/.*\|//r } grep { m{^shop} } split /\n/, $t->slurp("$dir/seen.log")),
   '-, -, http://blog.other.example/, -, http://blog.other.example/',
   'what the shop is told of it, unless the link says no-referrer');

done_testing();
