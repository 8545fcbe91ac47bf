# usherd's HTTP client: what may be answered, and how long.

use lib 't/lib';
use Usher::Test;
use Usher::Peer;

use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $ok = "HTTP/1.1 200 OK\r\n";
my %raw = (
    '/ok'       => "${ok}Content-Length: 2\r\nX-One:  a b \r\n\r\nok",
    '/long'     => "${ok}Content-Length: 100\r\n\r\n" . 'x' x 100,
    '/chunked'  => "${ok}Transfer-Encoding: chunked\r\n\r\n"
                   . "32\r\n" . 'y' x 50 . "\r\n" . "32\r\n" . 'z' x 50
                   . "\r\n0\r\n\r\n",
    '/cut'      => "${ok}Content-Length: 100\r\n\r\nx",
    '/binary'   => "${ok}Content-Length: 3\r\n\r\na\0b",
    '/not'      => "SSH-2.0-OpenSSH_9.2\r\n",
    '/nothing'  => '',
    '/many'     => $ok . "X-Header: value\r\n" x 5000 . "\r\n",
    '/line'     => "${ok}X: " . 'x' x 90_000 . "\r\n\r\n",
    '/early'    => "HTTP/1.1 103 Early Hints\r\nX-One: early\r\n\r\n"
                   . "HTTP/1.1 204 No Content\r\nX-One: late\r\n\r\n",
    '/gone'     => "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
    '/odd'      => "HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
);

my $peer = Usher::Peer->new($t, sub {
    my ($path, $socket) = @_;

    print $socket $raw{$path} // '';
    sleep 60 if $path eq '/hangs';
    while ($path eq '/drips') { print $socket 'x'; sleep 0.05 }
    while ($path eq '/endless') { print $socket 'x' x 65536 }
});

my $base = 'http://127.0.0.1:' . $peer->port;

sub http {
    my ($path, @args) = @_;
    open my $fh, '-|', "$t->{build}/http", '-p', @args, 'GET',
         $path =~ /^http/ ? $path : "$base$path" or die "http: $!\n";
    my ($first, @rest) = <$fh>;
    return wantarray ? ($first, @rest) : join ' ', (split / /, $first)[0 .. 2];
}

is(http('/ok'), ' 200 2', 'an answer');
is((http('/ok'))[1], "ok\n", 'with its body');
is((http('/ok', '-n', 'x-one'))[1], "a b\n", 'and its headers');
is((http('/ok', '-n', 'X-On'))[1], "-\n", 'by their whole name');
is(http('/long', '-m', 100), ' 200 100', 'as long as it may be');
is(http('/long', '-m', 99), 'large 200 99', 'not longer');
is(http('/chunked', '-m', 99), 'large 200 99', 'nor in pieces');
is(http('/long', '-m', 0), 'large 200 0', 'nor where none was to be');
is(http('/binary'), ' 200 3', 'any bytes');
is(http('/cut'), 'broken 200 1', 'one that is cut off');
is(http('/not'), 'broken 0 0', 'another protocol');
is(http('/nothing'), 'broken 0 0', 'no answer');
is(http('/many'), 'large 200 0', 'too many headers');
is(http('/line'), 'large 200 0', 'a header that is too long');
is((http('/early', '-n', 'x-one'))[1], "late\n", 'the last head counts');
is(http('/gone'), ' 410 0', 'gone is an answer');
is(http('/odd'), ' 999 0', 'and so is any status');

# bounds of time and size: each of these would go on for ever

is(http('/hangs', '-t', 300), 'timeout 0 0', 'one that hangs');
like(http('/drips', '-t', 300), qr/^timeout|^broken/, 'one that drips');
is(http('/endless', '-m', 1000), 'broken 0 0', 'one without end, and no head');

# who is not there

is(http('http://127.0.0.1:1/', '-c', 500), 'connect 0 0', 'nobody listens');
is(http('http://no-such-host.invalid/', '-c', 5000) =~ s/^timeout/resolve/r,
   'resolve 0 0', 'no such name');

# what is sent

http('/ok', '-d', '{"a":1}', '-H', 'Content-Type: application/json', '-H',
     'X-Two: b');
my ($last) = reverse $peer->asked;
like($last, qr/^Content-Type: application\/json$/m, 'headers are sent');
like($last, qr/^X-Two: b$/m, 'all of them');
like($last, qr/\n\n\{"a":1\}$/, 'and the body');
unlike($last, qr/^Expect:/m, 'without asking first');

# TLS: by a name that the certificate has, and by who is trusted

my $dir = $t->dir;

sub certificate {
    my ($name, $days) = @_;
    system("openssl req -x509 -newkey rsa:2048 -nodes -days $days -subj "
        . "/CN=$name -addext subjectAltName=DNS:$name -keyout $dir/$name.key "
        . "-out $dir/$name.crt >$dir/openssl.log 2>&1") == 0
        or die $t->slurp("$dir/openssl.log");
    chmod 0644, "$dir/$name.key";
    return "ssl_certificate $dir/$name.crt; ssl_certificate_key $dir/$name.key;"
}

my ($here, $there) = (certificate('localhost', 2), certificate('there', 2));

$t->nginx(<<"CONF");
    server { listen 127.0.0.1:%%PORT%% ssl; $here return 200 hello; }
    server { listen 127.0.0.1:%%PORT_there%% ssl; $there return 200 hello; }
    server { listen 127.0.0.1:%%PORT_old%% ssl; $here
             ssl_protocols TLSv1 TLSv1.1; ssl_ciphers ALL:\@SECLEVEL=0;
             return 200 hello; }
    server { listen 127.0.0.1:%%PORT_plain%%; return 200 hello; }
CONF

sub tls { my ($port, $ca) = @_;
          http('https://localhost:' . $t->port($port) . '/', '-a', "$dir/$ca") }

is(tls('edge1', 'localhost.crt'), ' 200 5', 'one who is who he says');
is(tls('edge1', 'there.crt'), 'tls 0 0', 'trusted by nobody');
is(tls('edge1_there', 'there.crt'), 'tls 0 0', 'by another name');
is(tls('edge1_old', 'localhost.crt'), 'tls 0 0', 'by what is no longer safe');
is(tls('edge1', 'none.crt') =~ s/^(tls|internal) .*/bad/r, 'bad',
   'without a list of whom to trust nobody is');
is(tls('edge1_plain', 'localhost.crt'), 'tls 0 0', 'no TLS');

done_testing();
