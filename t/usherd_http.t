# usherd's HTTP client: where it goes, and where it does not.  The guard is on
# the address that is connected to, whatever it was called.

use lib 't/lib';
use Usher::Test;
use Usher::Peer;

my $t = Usher::Test->new;

sub fine { my $socket = $_[1];
           print $socket "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" }

my $peer = Usher::Peer->new($t, \&fine);
my $six = Usher::Peer->new($t, \&fine, '::1');
my $port = $peer->port;

# what came of it: error, status, length, reason

sub http {
    my (@args) = @_;
    open my $fh, '-|', "$t->{build}/http", @args or die "http: $!\n";
    return scalar <$fh>;
}

sub word { (split ' ', http('-c', 200, 'GET', "http://$_[0]/"))[0] || 'ok' }

# every way to say it

for my $host ("127.0.0.1:$port", "127.1.2.3:$port", "0.0.0.0:$port",
              "localhost:$port", "LOCALHOST:$port",
              '[::1]:' . $six->port, "[::ffff:127.0.0.1]:$port",
              "[::ffff:7f00:1]:$port", '[::]:' . $six->port,
              "[64:ff9b::127.0.0.1]:$port", "[::127.0.0.1]:$port",
              "169.254.169.254", '[fe80::1]', '10.0.0.1', '172.16.0.1',
              '192.168.0.1', '100.64.0.1', '198.18.0.1', '192.0.2.1',
              '224.0.0.1', '255.255.255.255', '[fd00::1]', '[ff02::1]',
              '[2001:db8::1]', '[2002:7f00:1::]', '[64:ff9b:1::1]')
{
    is(word($host), 'address', "not $host");
}

like(http('GET', "http://127.0.0.1:$port/"),
     qr/^address 0 0 its address is loopback$/, 'it says why');

# a name of /etc/hosts, as one of DNS that was bound anew

my ($name) = grep { $_ ne 'localhost' } map { /^127\.\S+\s+(\S+)/ ? $1 : () }
             split /\n/, $t->slurp('/etc/hosts');

SKIP: {
    skip 'no other name of loopback here', 1 if !$name;
    is(word("$name:$port"), 'address', "not the name $name");
}

is(join('', $peer->asked, $six->asked), '', 'nobody was asked');

like(http('-p', 'GET', "http://localhost:$port/"), qr/^ 200 2 /,
     'it is where that is allowed');
like(http('-p', 'GET', 'http://[::1]:' . $six->port . '/'), qr/^ 200 2 /,
     'by IPv6 as well');

# what is no URL for it

is((split ' ', http('-p', 'GET', $_))[0], 'url', "no $_")
    for 'file:///etc/passwd', 'ftp://127.0.0.1/', 'gopher://127.0.0.1/',
        "http://2130706433:$port/", "http://0x7f.1:$port/",
        "http://127.1:$port/", "http://user\@127.0.0.1:$port/",
        "http://127.0.0.1:$port/\r\nX: y", "127.0.0.1:$port", '';
is((split ' ', http('-p', $_->[0], "http://127.0.0.1:$port/", @$_[1 .. @$_ - 1]
                    ))[0], 'request', "no method $_->[0]")
    for [ 'get' ], [ '' ], [ "GET /x HTTP/1.1\r\nX:" ];
is((split ' ', http('-p', '-H', $_, 'GET', "http://127.0.0.1:$port/"))[0],
   'request', 'no header') for "X: y\r\nZ: z", 'X';

# a public address needs no flag: one on the loopback of a namespace, with a
# server of its own

SKIP: {
    my $up = 'ip link set lo up && ip addr add 192.0.3.1/32 dev lo && '
        . 'ip addr add 203.0.113.1/32 dev lo';
    my @in = ('unshare', $> ? '-rn' : '-n', 'sh', '-c');

    skip 'no network namespaces here', 1 if system(@in, "($up) 2>&-") != 0;

    $t->write_file('server.pl', <<'SERVER');
        use IO::Socket::INET;
        my $listen = IO::Socket::INET->new(LocalPort => 8080, Listen => 5);
        print "listens\n";
        close STDOUT;
        alarm 60;
        while (my $s = $listen->accept) {
            sysread $s, my $request, 4096;
            syswrite $s, "HTTP/1.1 204 No Content\r\n\r\n";
        }
SERVER
    $t->write_file('inside.sh', <<"INSIDE");
        $up
        perl $t->{dir}/server.pl > $t->{dir}/server.log & pid=\$!
        until grep -q listens $t->{dir}/server.log; do sleep 0.1; done
        for a in 192.0.3.1 203.0.113.1; do
            $t->{build}/http GET http://\$a:8080/
        done
        kill \$pid
INSIDE

    open my $fh, '-|', @in, "sh $t->{dir}/inside.sh" or die "unshare: $!\n";
    is(join(' ', map { /^(\w* \d+) / ? $1 : () } <$fh>), ' 204 address 0',
       'a public one is asked, one of documentation is not');
}

# nothing leads elsewhere

my $elsewhere = Usher::Peer->new($t, \&fine);
my $to = '127.0.0.1:' . $elsewhere->port;
my $moved = Usher::Peer->new($t, sub { my $socket = $_[1];
    print $socket "HTTP/1.1 302 Found\r\nLocation: http://$to/\r\n"
        . "Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n" });
my $here = 'http://127.0.0.1:' . $moved->port . '/';

$t->write_file('.netrc', "machine 127.0.0.1 login bob password secret\n");

{
    local @ENV{qw(http_proxy HTTP_PROXY all_proxy https_proxy HOME)}
        = (("http://$to") x 4, $t->{dir});
    delete local $ENV{no_proxy};
    like(http('-p', 'GET', $here), qr/^ 302 0 /, 'a redirect is the answer');
}

is(join('', $elsewhere->asked), '', 'it is not followed, nor a proxy asked');
unlike(join('', $moved->asked), qr/^(Authorization|Cookie|Proxy)/mi,
       'nor anything told');
like(join('', $moved->asked), qr{^User-Agent: usher/\d[\d.]+$}m,
     'but who it is');

done_testing();
