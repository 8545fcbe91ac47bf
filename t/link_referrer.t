# What is taken from Referer and Accept-Language.

use v5.36;
use lib 't/lib';

use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'go.example', org => 'acme')");
$t->sql("select api.link_add(host => 'go.example', slug => 'a', "
    . "url => 'https://shop.example/?r={referrer_host}&l={lang}')");
$t->nginx(<<'END');
    usher_zone 8m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;
        server_name go.example;

        location ~ ^/(?<slug>.+)$ { usher_link $slug; usher_link_visitor off; }
    }
END

$t->wait_for(sub { seen(Referer => 'https://a.example/') eq 'r=a.example&l=' },
    'the link');

# all of it, and what a closer look is taken at

my $label = 'x' x 63;

is(of("https://$_->[0]/p?q"), $_->[1], "https://$_->[0]"),
    is(of("http://$_->[0]/p?q"), $_->[1], "http://$_->[0]")
    for [ 'shop.example', 'shop.example' ], [ 'Shop.EXAMPLE', 'shop.example' ],
        [ 'a-b.c1.example', 'a-b.c1.example' ], [ 'localhost', 'localhost' ],
        [ '1a.example', '1a.example' ], [ 'a.example:8080', 'a.example' ],
        [ 'a.example.', 'a.example.' ], [ '192.0.2.1', '192.0.2.1' ],
        [ "$label.example", "$label.example" ], [ "x$label.example", '' ],
        [ 'a.0x1', '' ], [ 'a.1', '' ], [ '-a.example', '' ],
        [ 'a-.example', '' ], [ 'a.example-', '' ], [ '.example', '' ],
        [ 'a..example', '' ], [ 'a_b.example', '' ], [ '', '' ],
        [ 'shop.example@a.example', '' ], [ ('a.' x 61) . 'example', '' ],
        [ ('a.' x 61) . 'exampl', ('a.' x 61) . 'exampl' ];

is(of('https://a.example'), 'a.example', 'no path');
is(of('https://a.example?q'), 'a.example', 'nor with a query');

is(language($_->[0]), $_->[1], "language $_->[0]")
    for [ 'en-GB,en;q=0.9,de;q=0.8', 'en-GB' ], [ 'de;q=0.5, fr', 'fr' ],
        [ 'de;q=0.5,fr;q=0.7,en;q=0.7', 'fr' ], [ 'de;q=0, fr;q=0.1', 'fr' ],
        [ 'de;q=1.0,fr', 'de' ], [ 'de;q=0', '' ];

done_testing;


sub of ($referrer) {
    return seen(Referer => $referrer) =~ s/^r=|&l=$//gr;
}


sub language ($field) {
    return seen('Accept-Language' => $field) =~ s/^r=&l=//r;
}


sub seen (@header) {
    my $location = $t->get('/a', Host => 'go.example', @header)
        ->header('Location') // '';

    return $location =~ s/^[^?]*\?//r;
}
