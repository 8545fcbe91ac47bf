#!/usr/bin/perl

# Clients that send or read too slowly: the server ends them by nginx's own
# timeouts, each is a row, and the only worker serves others meanwhile.

use lib 't/lib';
use Usher::Test;

use IO::Select;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(conf => { usherd => { batch_age_ms => 20 } });
$t->ctl('org create name=acme');
my $key = $t->ctl('key create org=acme')->{key};

my $locations = <<'CONF';
        access_log %%DIR%%/access.log test;
        usher_auth on;
        location / { }
        location /post/ { proxy_pass http://127.0.0.1:%%PORT_back%%; }
CONF

$t->nginx(<<"CONF");
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=4m segment=256k sync=50ms;
    log_format test "\$request|\$http_x_api_key|\$status";

    server {
        listen 127.0.0.1:%%PORT%%;
        client_header_timeout 1s;
        client_body_timeout 1s;
        send_timeout 1s;
$locations
    }

    server {
        listen 127.0.0.1:%%PORT_patient%%;
        client_header_timeout 600s;
        client_body_timeout 600s;
        send_timeout 600s;
$locations
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        return 200 "ok";
    }
CONF

# more than the buffers of both sockets hold

my $size = 64 << 20;
truncate($t->write_file("edge1/html/large-$_", ''), $size)
    || die "truncate: $!\n" for 'edge1', 'edge1_patient';
$t->write_file('edge1/html/small', 'x');
$t->wait_for(sub { $t->get('/small', 'X-API-Key' => $key)->status == 200 },
             'admitted');

my $head = "HTTP/1.1\r\nHost: a\r\nX-API-Key: $key\r\n";
my %slow = (
    header => "GET /header $head" . 'X-More: ',
    key => substr("GET /key $head", 0, -10),
    body => "POST /post/WHO ${head}Connection: close\r\n"
            . "Content-Length: 10\r\n\r\nabc",
    reader => "GET /large-WHO $head\r\n",
);


sub start {
    my ($how, $port) = @_;

    my $s = $t->connect(port => $t->port($port)) or die "connect: $!\n";

    $s->autoflush(1);
    print $s $slow{$how} =~ s/WHO/$port/r;

    return $s;
}


# What comes until the server closes; undef if it does not.

sub closed {
    my ($s) = @_;

    my $text = '';
    my $select = IO::Select->new($s);

    while ($select->can_read(60)) {
        sysread($s, $text, 65536, length $text) or return $text;
    }

    return undef;
}

sub row {
    my ($uri) = @_;

    return ($t->rows('select status, bytes_sent, auth_status from usher.request
                      where uri = ?', $uri))[0];
}


# those with time: the worker has them open, and serves others

my %patient = map { $_ => start($_, 'edge1_patient') } sort keys %slow;
my $open = IO::Select->new(@patient{qw(header key body)});

is($t->get('/small', 'X-API-Key' => $key)->status, 200, "served meanwhile: $_")
    for 1 .. 5;
is($t->get('/small')->status, 401, 'or refused');
is(() = $open->can_read(0), 0, 'the slow ones are open yet');

my $s = $patient{body};
print $s 'defghij';
like(Usher::Test::Response->new($t->http('', socket => $s)),
     qr{^HTTP/1.1 200 }, 'one that goes on in the end is answered');
close $_ for values %patient;

# those without

for my $how (qw(header key body)) {
    my $text = closed(start($how, 'edge1'));

    ok(defined $text, "slow $how: the server closes");
    unlike($text // '', qr{^HTTP/1.1 200}, 'and has not answered');
}

$s = start('reader', 'edge1');
$t->wait_for(sub { row('/large-edge1') }, 'slow reader: the server gives up',
             30);
cmp_ok(row('/large-edge1')->[1], '<', $size, 'before all of it was sent');

my $text = closed($s);
ok(defined $text, 'and closes');
cmp_ok(length $text, '<', $size, 'what came is cut');

$t->wait_for(sub { row('/post/edge1') }, 'slow body: a row', 30);
is(row('/post/edge1')->[0], 408, 'of 408');
is(row('/post/edge1')->[2], 'ok', 'admitted before');
$t->wait_for(sub { $t->sql("select count(*) from usher.request where status =
                            408 and auth_status = ''") == 2 },
             'slow headers: rows of 408, that never came to usher_auth', 30);

is($t->get('/small', 'X-API-Key' => $key)->status, 200, 'others are served');

my $log = $t->slurp($t->dir . '/edge1/access.log');
like($log, qr/^GET \/key .*\|-?\|408$/m, 'all are logged');
unlike($log, qr/\Q$key\E/, 'without a key');

done_testing();
