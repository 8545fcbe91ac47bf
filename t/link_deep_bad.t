# What must be no deep link: wherever a browser goes with what is answered (the
# WHATWG's parser, in Node), it is a host that the program lists, or the link's
# own.

use lib 't/lib';
use Usher::Test;


plan(skip_all => 'no node to ask: util/install ci installs it')
    if system('node --version > /dev/null 2>&1') != 0;

my $t = Usher::Test->new;

my $seed = $ENV{USHER_SEED} // time;
note("USHER_SEED=$seed");
srand $seed;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.network_create(org => 'acme', name => 'net', "
    . "preset => 'awin')");
$t->sql("select api.program_create(org => 'acme', name => '$_->[0]', "
    . "side => '$_->[0]', currency => 'EUR', network => '$_->[1]', "
    . "hosts => 'shop.example *.wild.example xn--bcher-kva.example')")
    for ['network', 'net'], ['own', ''];
$t->sql("select api.link_add(host => 'localhost', slug => '$_->[0]', "
    . "program => '$_->[0]', fallback => 'https://back.example/', "
    . "query => true, url => 'https://$_->[1]/?s={click_id}', untracked => true)")
    for ['network', 'net.example'], ['own', 'shop.example'];

$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m;
    large_client_header_buffers 4 32k;

    server {
        listen 127.0.0.1:%%PORT%%;

        location ~ ^/(?<slug>.*)$ {
            usher_link $slug;
        }
    }
CONF

sub encode { $_[0] =~ s/([^A-Za-z0-9.~_-])/sprintf '%%%02X', ord $1/ger }

sub location {
    my ($slug, $args) = @_;
    return $t->get("/$slug?$args", 'User-Agent' => 'Mozilla/5.0 (X11) x')
        ->header('Location') // '';
}

$t->wait_for(sub { location($_, 'to=https://shop.example/') =~ /shop/ },
             "a page is reached: $_") for qw(network own);

# one by one; each falls back

my $evil = 'evil.example';

for my $url (
    "https://$evil/", "https://shop.example\@$evil/", "https://shop.example:443\@$evil/",
    "https://\@shop.example/", "https://$evil#\@shop.example/",
    "https://$evil?\@shop.example/", "https://$evil\\\@shop.example/",
    "https://shop.example\\\@$evil/", "https://$evil\\.shop.example/",
    "https:\\\\$evil\\", "\\\\$evil/", "/\\$evil/", "//$evil/", "///$evil/",
    "https:$evil/", "https:/$evil/", "https:///$evil/", "http:shop.example/",
    "//shop.example/", '/p', 'p', '', 'https:', 'https://', 'https://?', '#',
    'javascript:alert(1)', "javascript://shop.example/%0aalert(1)",
    "java\tscript:alert(1)", 'data:text/html,x', 'data://shop.example/,x',
    'file://shop.example/', "blob:https://$evil/", 'about:blank',
    'ftp://shop.example/', 'ws://shop.example/', 'view-source:https://shop.example/',
    " https://shop.example/", "https://shop.example/ ", "\x01https://shop.example/",
    "ht\ntps://$evil/", "https://shop.example/\r\nLocation: https://$evil/",
    "https://shop.example\t.$evil/", "https://shop.example\0.$evil/",
    "https://shop.example%00.$evil/", "https://$evil%00.shop.example/",
    "https://$evil%2f.shop.example/", "https://$evil%23.shop.example/",
    "https://$evil%5c.wild.example/", "https://shop%2eexample/",
    "https://%73hop.example/", "https://%65vil.example/",
    "https://shop.example.$evil/", "https://$evil.shop.example/",
    'https://evilshop.example/', 'https://wild.example/', 'https://evilwild.example/',
    'https://.wild.example/', 'https://a..wild.example/', 'https://*.wild.example/',
    "https://shop.example,$evil/", "https://shop.example;$evil/",
    "https://shop.example $evil/", "https://shop_example/", 'https://shop.example../',
    "https://shop\xe3\x80\x82example/", "https://$evil\xef\xbc\x8fshop.example/",
    "https://\xe2\x93\xa2hop.example/", "https://b\xc3\xbccher.example/",
    "https://sh\xd0\xbep.example/", 'https://xn--shp-gmc.example/',
    "https://shop.example\xc2\xad/", "https://shop.example\xe2\x80\x8b/",
    'https://shop.example:8443/', 'https://shop.example:80/', 'http://shop.example:443/',
    'https://shop.example:0/', 'https://shop.example:/', 'https://shop.example:0443/',
    'https://shop.example:65979/', "https://shop.example:443:443/",
    'http://127.0.0.1/', 'http://2130706433/', 'http://0x7f.1/', 'http://0177.0.0.1/',
    'http://127.1/', 'http://0/', 'http://[::1]/', 'http://[::ffff:127.0.0.1]/',
    'http://169.254.169.254/', 'http://127.0.0.1.wild.example.0x7f/',
    'http://localhost/own', 'http://LOCALHOST./own',
    'https://shop.example/%', 'https://shop.example/%zz', 'https://shop.example/{sub1}',
    'https://shop.example/"x', 'https://shop.example/<x>', "https://shop.example/\xff",
    'https://shop.example/' . 'x' x 8000, 'x' x 8000, "https://$evil/" . '%41' x 2000,
) {
    my $what = substr $url, 0, 50;

    is(location($_, 'to=' . encode($url)), 'https://back.example/',
       "$_: no " . encode($what)) for qw(network own);
}

for my $args ("to=https://shop.example/&to=https://$evil/",
              "to=https://$evil/&to=https://shop.example/",
              "to=https://shop.example/&%74o=https://$evil/",
              "to&to=https://shop.example/", "to=https%253A%252F%252Fshop.example/",
              "to=https://shop.example%0d%0a", "to=https://shop.example/%4&a=1")
{
    is(location('own', $args) =~ s/\?.*//r, 'https://back.example/',
       "no $args");
}

# and at random; "to" is not passed on either, and the sub-id is the link's

my @host = ('shop.example', 'a.wild.example', 'xn--bcher-kva.example', $evil,
            'shop.example', 'A.Wild.Example.', '127.0.0.1', 'xn--a.wild.example');
my @rest = ('', '/', '/p?a=b', '?s=1', '#f', ':443', ':80', '/@', '/?s=1&%73=2',
            '//x/../..', '?to=https://evil.example/&to');
my @trick = ('\\', '@', ':', "\t", "\n", ' ', '%', '%00', '%2e', '..', '.', '/',
             '?', '#', '//', '[', "\0", "\xe3\x80\x82", "\xef\xbc\x8f", '&', '=',
             ';', '{sub1}', 'https:', 'javascript:', '&to=', '%26to=', $evil);

sub any { return $_[rand @_] }

sub attack {
    my $url = any('https://', 'https://', 'http://', 'HTTPS://', '//')
        . any(@host) . any(@rest);

    substr $url, rand length $url, 0, any(@trick) for 1 .. rand 3;
    substr $url, rand length $url, 1, '' if rand() < 0.2;

    return 'to=' . encode($url) if rand() < 0.7;

    # as it is, but for what no request line has

    return 'to=' . $url =~ s/([\x00-\x20\x7f-\xff#])/sprintf '%%%02x', ord $1/ger;
}

my @asked = map { [any('network', 'own'), attack()] } 1 .. 3000;
my @went = map { location(@$_) } @asked;

$t->write_file('ask', join '', map { "$_\n" } @went);
$t->write_file('ask.js', <<'JS');
const lines = require('fs').readFileSync(0, 'latin1').split('\n');

for (const line of lines.slice(0, -1)) {
    try {
        const url = new URL(line, 'http://localhost/go/x');
        const pages = url.searchParams.getAll('ued').map(p => new URL(p));
        const to = url.searchParams.getAll('to').length;

        console.log([url, ...pages].map(u => u.origin).join(' '), to,
                    url.searchParams.getAll('s').length);

    } catch (error) {
        console.log('refused', line);
    }
}
JS

my @said = split /\n/, `node $t->{dir}/ask.js < $t->{dir}/ask`;
is($?, 0, 'node ran');
is(scalar @said, scalar @asked, 'and answered each');

my $listed = qr{https?://(shop\.example|(xn--)?a\.wild\.example|
                xn--bcher-kva\.example|[\w.-]+\.wild\.example)\.?}x;
my $own = qr{https://back\.example};
my (%n, @bad);

for my $n (0 .. $#said) {
    my $once = $asked[$n][1] =~ /&/ ? qr/\d/ : 1;
    my $good = $said[$n] =~ m{^$own 0 \d$} ? 'back'
        : $said[$n] =~ m{^https://net\.example $listed 0 $once$} ? 'network'
        : $said[$n] =~ m{^$listed \d $once$} ? 'own'
        : $said[$n] =~ m{^refused .*xn--} ? 'name' : 'bad';

    $n{$good}++;
    push @bad, "$asked[$n][1]: $said[$n]" if $good eq 'bad';
}

diag("$_") for splice @bad, 0, 5;
is($n{bad}, undef, 'a browser goes nowhere else');
cmp_ok($n{$_}, '>', 100, "some went: $_") for qw(back network own);
unlike($t->error_log, qr/\[(crit|alert|emerg)\]/, 'all of it is quiet');

diag("USHER_SEED=$seed") unless Test::More->builder->is_passing;
done_testing();
