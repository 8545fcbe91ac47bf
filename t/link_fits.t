# What the database lets in is a record that edges can read, and none keeps
# others from being written.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme', "
    . "fallback => 'https://acme.example/one')");

sub done {
    my ($function, %with) = @_;

    my @names = sort keys %with;
    my $list = join ', ', map { "$_ => ?" } @names;

    return eval {
        $t->sql("select api.$function(host => 'localhost', $list)",
                @with{@names});
        'done';
    } // $@ =~ s/.*ERROR:\s+(.*?)\n.*/$1/sr;
}

my $shop = 'https://shop.example/';

is(done('link_add', slug => 'utm', url => $shop, utm => "utm_source=$_"),
   "utm=\"utm_source=$_\" cannot be", "no utm: $_")
    for '{foo}', '%zz', '{sub1', '}', '%{sub1}41';

is(done('link_add', slug => $_, url => $shop), 'done', "a link $_")
    for qw(before never after gone long words ended other);
is(done('link_target_set', slug => 'before', target => 'a', url => "${shop}a",
        starts => '1960-01-01'), 'done', 'from before 1970');
is(done('link_target_set', slug => 'never', target => 'a', url => "${shop}a",
        starts => 'infinity'), 'done', 'from the end of time');
is(done('link_target_set', slug => 'after', target => 'a', url => "${shop}a",
        ends => '1960-01-01'), 'done', 'until before 1970');
is(done('link_target_set', slug => 'gone', target => 'a', url => "${shop}a",
        ends => '-infinity'), 'done', 'until its beginning');
is(done('link_update', slug => 'ended', expires => '2020-01-01'), 'done',
   'ended');

my $n = 0;

$n++ while done('link_target_set', slug => 'long', target => "t$n",
                url => $shop . 'x' x 1000, step => $n + 1) eq 'done';

cmp_ok($n, '>', 2, 'some long targets');
is(done('link_target_set', slug => 'long', target => 'z',
        url => $shop . 'x' x 1000), 'the link is too long', 'not more');
is(done('link_update', slug => 'long', url => $shop . 'x' x 2000),
   'the link is too long', 'nor a longer URL then');
like(done('link_target_set', slug => 'words', target => 'a', url => $shop,
          referrer => join ' ', map { "r$_." . 'x' x 200 } 1 .. 30),
     qr/cannot be$/, 'nor long words');

$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location ~ ^/(?<slug>.*)$ {
            usher_link $slug;
        }
    }
CONF

sub answer {
    my ($uri) = @_;
    my $response = $t->get($uri, 'User-Agent' => 'Mozilla/5.0 (Macintosh) x');

    return $response->status . ' ' . ($response->header('Location') // '');
}

$t->wait_for(sub { answer('/other') eq "302 $shop" }, 'records are written');
is(answer('/before'), "302 ${shop}a", 'began long ago');
is(answer('/never'), "302 $shop", 'never begins');
is(answer('/after'), "302 $shop", 'ended long ago');
is(answer('/gone'), "302 $shop", 'had ended before');
is(answer('/long'), "302 $shop" . 'x' x 1000, 'the longest is read');

is(answer('/ended'), '302 https://acme.example/one', 'as its host does');
$t->sql("select api.domain_update(host => 'localhost', "
    . "fallback => 'https://acme.example/two')");
$t->wait_for(sub { answer('/ended') eq '302 https://acme.example/two' },
             'a link falls back to where its host does now');

# the longest there may be, of a program that lists hosts only now

my $name = 'n' x 32;
my $most = "${shop}?u=";
my %url = (url => $most . 'x' x (1536 - length $most),
           overflow => $most . 'x' x (1536 - length $most));
my $utm = 'utm_source=' . 'x' x 501;

$t->sql("select api.network_create(org => 'acme', name => '$name', "
    . "preset => 'awin', deep_link => repeat('d', 64))");
$t->sql("select api.program_create(org => 'acme', name => '$name', "
    . "side => 'network', network => '$name', currency => 'EUR')");
$t->sql("select api.product_create(org => 'acme', program => '$name', "
    . "name => '$name')");
$t->sql("select api.campaign_create(org => 'acme', name => '$name')");

my %of = (url => $shop, program => $name, product => $name, campaign => $name,
          referrer_policy => 'strict-origin-when-cross-origin', untracked => 1);

is(done('link_add', slug => 'most', %of, %url, utm => $utm, query => 1,
        expires => '9000-01-01'), 'done', 'the longest link');
is(done('link_add', slug => 'more', %of, %url, utm => $utm,
        url => "$url{url}x"), 'the link is too long', 'not longer');
is(done('link_add', slug => 'many', %of), 'done', 'one with targets');

$n = 0;
$n++ while done('link_target_set', slug => 'many', target => "t$n",
                url => $shop . 'x' x 300, step => $n + 1) eq 'done';
is(done('link_target_set', slug => 'many', target => 'z', url => $shop,
        step => 1, referrer => '*.' . 'x' x 300 . '.example'),
   'the link is too long', "not more than $n");
$t->sql("select api.domain_update(host => 'localhost', fallback => ?)",
        $shop . 'x' x (2048 - length $shop));
$t->sql("select api.program_update(org => 'acme', program => '$name', "
    . "hosts => ?)", join ' ', 'www.shop.example',
    map { sprintf 'h%03d.' . 'x' x 20 . '.' . 'x' x 20 . '.example', $_ }
        1 .. 18);

my $page = 'to=https://www.shop.example/p';

$t->wait_for(sub { answer("/many?$page") =~ /d=https%3A.*p$/ },
             'then hosts are listed');
is(answer('/most?x=1'), "302 $url{url}&$utm&x=1", 'the longest is read');
$t->wait_for(sub { answer("/most?$page") =~ /d=https%3A.*p$/ }, 'as well');

unlike($t->error_log, qr/cannot be read/, 'all could be read');

done_testing();
