#!/usr/bin/perl

# Each request that usher_auth or usher_limit looked at is in one counter of
# requests_*, by what became of it in the end.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_auth_failures rate=1r/d burst=2;

    server {
        listen 127.0.0.1:%%PORT%%;

        location = /status {
            usher_status;
        }

        location = /metrics {
            usher_metrics;
        }

        location / {
        }

        location /auth/ {
            usher_auth on scope=read;
            usher_limit few rate=2r/d key=$arg_few;
            error_page 429 /page/x;
        }

        location /page/ {
            usher_auth optional;
        }

        location /dry/ {
            usher_auth on scope=read;
            usher_auth_dry_run on;
            usher_limit dry rate=1r/d key=$arg_dry dry_run;
        }

        location /any/ {
            satisfy any;
            usher_auth on;
            allow 127.0.0.1;
            deny all;
        }

        location /none/ {
            satisfy any;
            usher_auth on;
            deny all;
        }

        location /limit/ {
            usher_limit alone rate=2r/d key=$arg_alone;
        }
    }
CONF

$t->write_file("edge1/html/$_/x", 'content')
    for qw(. auth page dry any none limit);

my @good = ('X-API-Key' => $d->key(scope => 'read'));
my @poor = ('X-API-Key' => $d->key(scope => ''));
my @two = (@good, 'X-API-Key' => Usher::Key::text());

sub counters {
    my $c = $t->get('/status')->json->{counters};
    return { map { /^requests_(\w+)/ ? ($1 => $c->{$_}) : () } keys %$c };
}


# One request: its status, and the one counter that it moved.

sub counted {
    my ($uri, $headers, $status, $name, $what) = @_;

    my $before = counters();
    my $r = $t->get($uri, @$headers);
    my $after = counters();
    my @moved = map { my $n = $after->{$_} - $before->{$_};
                      $n ? $n == 1 ? $_ : "$_ $n times" : () }
                sort keys %$after;

    is($r->status . " @moved", "$status $name", $what);
}

counted('/x', [], 200, '', 'no directive');
counted('/auth/x', \@good, 200, 'admitted', 'a key');
counted('/auth/x', [], 401, 'unauthorized', 'no key');
counted('/auth/x', \@poor, 403, 'forbidden', 'a scope');
counted('/auth/x', \@two, 400, 'invalid', 'two keys');
counted('/page/x', [], 200, 'anonymous', 'optional');

counted('/auth/x?few=a', \@good, 200, 'admitted', 'within a limit') for 1, 2;
counted('/auth/x?few=a', \@good, 429, 'limited',
        'over a limit, and its page admits');

counted('/dry/x', \@good, 200, 'admitted', 'dry run: a key');
counted('/dry/x', \@poor, 200, 'dry_run', 'dry run: a scope');
counted('/dry/x?dry=a', \@good, 200, 'admitted', 'dry run: within a limit');
counted('/dry/x?dry=a', \@good, 200, 'dry_run', 'dry run: over a limit');

counted('/any/x', \@good, 200, 'admitted', 'any: a key');
counted('/any/x', [], 200, 'anonymous', 'any: another module');
counted('/any/x', \@two, 200, 'anonymous', 'any: two keys, another module');
counted('/none/x', [], 401, 'unauthorized', 'any: no key, refused');
counted('/none/x', \@two, 403, 'forbidden', 'any: two keys, refused');

counted('/limit/x?alone=a', [], 200, 'passed', 'a limit alone') for 1, 2;
counted('/limit/x?alone=a', [], 429, 'limited', 'a limit alone, over it');

counted('/auth/x', ['X-API-Key' => "bad$_"], 401, 'unauthorized', 'bad keys')
    for 1, 2;
counted('/auth/x', ['X-API-Key' => 'bad'], 429, 'throttled', 'too many');

$t->signal('redis', 'STOP');
counted('/auth/x', ['X-API-Key' => Usher::Key::text()], 503, 'unknown',
        'cannot be known');
$t->signal('redis', 'CONT');

# all of them, as Prometheus reads them

my %all = $t->get('/metrics')->body =~ /^usher_requests_(\w+)_total (\d+)$/mg;

is_deeply(\%all, {
    passed => 2, admitted => 6, anonymous => 3, dry_run => 2,
    unauthorized => 4, forbidden => 2, invalid => 1, throttled => 1,
    limited => 2, unknown => 1, denied => 0,
}, 'usher_metrics, value by value');

done_testing();
