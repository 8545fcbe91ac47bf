# The set of series is bounded: odd methods, routes, keys and statuses, and
# another worker, add none, to neither program's.  And each is looked at by
# some test.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;
use Usher::Key;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
$t->ctl('org create name=acme');
my $key = key_new($t);
my @codes = (200, 204, 301, 400, 404, 418, 451, 499, 500, 503, 599);
my $answers = join '', map {
    "location = /s/$_ { usher_auth optional; return $_; }\n" } @codes;

$t->nginx(<<"EOF2", workers => 1);
    usher_zone 2m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=4m segment=256k retain=1s;
    usher_route \$uri;
    server {
        listen 127.0.0.1:%%PORT%%;
        location / { usher_auth on; usher_limit each rate=1r/m key=\$uri; }
        location = /metrics { usher_metrics; }
        $answers
    }
EOF2

sub series { join "\n", sort map { /^(\w+(?:\{.*\})?) \S+$/ ? $1 : () }
             split /\n/, $_[0] }

sub now { (series($t->get('/metrics')->body), series($t->metrics)) }

$t->wait_for(sub { $t->get('/a', 'X-API-Key' => $key->{key})->status != 503 },
             'a key');
$t->wait_for(sub { $t->sql('select count(*) from usher.request') }, 'a row');
$t->wait_for(sub { $t->get('/metrics')->body =~ /heartbeat_age/ },
             'a sign of life');

my ($edge, $usherd) = now();
my $rows = 0;

sub odd { my $raw = shift; $t->http("$raw\r\nHost: a\r\nConnection: close\r\n"
                                    . join('', map { "$_\r\n" } @_) . "\r\n") }

for my $method (qw(GET HEAD POST PUT DELETE OPTIONS PROPFIND TRACE BREW get)) {
    odd("$method /odd/$method HTTP/1.1", "X-API-Key: $key->{key}");
}

odd("GET /route/$_/%22%7B%0Ax HTTP/1.1", "X-API-Key: $key->{key}")
    for 1 .. 20;
odd("GET /s/$_ HTTP/1.1") for @codes;
odd('GET /k HTTP/1.1', "X-API-Key: $_")
    for '', 'x', "a\"b{}\\", "\xff\xfe", 'k' x 3000, Usher::Key::text(),
        Usher::Key::text('odd');
odd('GET /k HTTP/1.1', "X-API-Key: $key->{key}", 'Authorization: Bearer x');
odd("GET /old HTTP/1.0", "X-API-Key: $key->{key}");
odd("GET / HTTP/9.9");
odd("\x16\x03\x01");

$t->wait_for(sub {
    my $n = $t->sql('select count(*) from usher.request');
    my $was = $rows;
    $rows = $n;
    $n > 30 && $n == $was;
}, 'all of it is stored');

my @after = now();

is($after[0], $edge, 'the edge: the same series');
is($after[1], $usherd, 'usherd: the same series');

$t->kill9('worker');
$t->wait_for(sub { $t->get('/metrics')->status == 200
                   && series($t->get('/metrics')->body) eq $edge },
             'another worker: the same series', 30);
$t->kill9($_) for qw(flush directory keep);
$t->wait_for(sub { series($t->metrics) eq $usherd },
             'other processes: the same series');

# each of them in a test: by its name, or in its family's, by the rest of it

my %family = (usher_requests_ => 't/request_count.t',
              usher_directory_ => 't/status_directory.t',
              usher_journal_ => 't/status_counted.t',
              usherd_flush_ => 't/usherd_counted.t',
              usherd_directory_ => 't/usherd_counted.t');
my $tests = join '', map { $t->slurp($_) }
            grep { !/series/ } glob($t->top . '/t/*.t');

sub in_a_test {
    my ($name) = @_;
    my ($rest) = $name =~ /^usherd?_(\w+?)(?:_total)?$/;

    return 1 if $tests =~ /(?:\b|\busherd?_)$rest(?:_total)?\b/;

    my ($family) = grep { index($name, $_) == 0 } keys %family or return 0;
    ($rest) = $name =~ /^$family(\w+?)(?:_total|_bytes)?$/;

    return $t->slurp($t->top . "/$family{$family}") =~ /\b$rest\b/;
}

my %names = map { /^(usherd?_\w+)/ ? ($1 => 1) : () }
            split /\n/, "$edge\n$usherd";
is(join(' ', grep { !in_a_test($_) } sort keys %names), '',
   'each is in a test');

done_testing();
