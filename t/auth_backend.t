#!/usr/bin/perl

# What a server behind nginx is sent, whatever it is spoken to in: without
# the header that carried the key, with all others.  The servers of FastCGI,
# SCGI and uwsgi are below, a few lines each: what is asked is what nginx puts
# into the request.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

use IO::Socket::UNIX;
use POSIX ();

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);
my $key = $d->key;

my %server = (fastcgi => \&fastcgi, scgi => \&scgi, uwsgi => \&uwsgi);

serve($_) for sort keys %server;

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;
        usher_auth on;

        location /proxy {
            proxy_pass http://127.0.0.1:%%PORT_back%%;
        }

        location /fastcgi {
            fastcgi_pass unix:%%DIR%%/../fastcgi.sock;
        }

        location /scgi {
            scgi_pass unix:%%DIR%%/../scgi.sock;
        }

        location /uwsgi {
            uwsgi_pass unix:%%DIR%%/../uwsgi.sock;
        }

        location /grpc {
            grpc_pass grpc://127.0.0.1:%%PORT_grpc%%;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_back%%;
        listen 127.0.0.1:%%PORT_grpc%% http2;
        return 200 "$http_a|$http_x_api_key|$http_authorization|$http_z\n";
    }
CONF

for my $name (qw(proxy fastcgi scgi uwsgi grpc)) {
    is($t->get("/$name", A => 'first', 'X-API-Key' => $key, Z => 'last')->body,
       "first|||last\n", "$name: X-API-Key");
    is($t->get("/$name", A => 'first', Authorization => "Bearer $key",
               Z => 'last')->body, "first|||last\n", "$name: Bearer");
    is($t->get("/$name", A => 'first', Authorization => 'Basic dTpw',
               'X-API-Key' => $key, Z => 'last')->body,
       "first||Basic dTpw|last\n", "$name: what is not ours");
}

done_testing();


# Answers one request after the other with what it was sent.

sub serve {
    my ($name) = @_;

    my $path = $t->dir . "/$name.sock";
    my $socket = IO::Socket::UNIX->new(Local => $path, Listen => 10)
        or die "$path: $!\n";

    chmod 0777, $path;

    return if fork;

    while (my $s = $socket->accept) {
        my ($is, $wrap) = $server{$name}->($s);
        my $body = join('|', map { $is->{$_} // '' } qw(HTTP_A HTTP_X_API_KEY
                        HTTP_AUTHORIZATION HTTP_Z)) . "\n";

        syswrite $s, $wrap->("Content-Type: text/plain\r\n\r\n$body");
        close $s;
    }

    POSIX::_exit(0);
}


sub fetch {
    my ($s, $n) = @_;

    my $text = '';

    while (length $text < $n) {
        sysread $s, $text, $n - length $text, length $text or last;
    }

    return $text;
}


sub fastcgi {
    my ($s) = @_;

    my $params = '';
    my %is;

    while (1) {
        my (undef, $type, undef, $n, $pad) = unpack 'CCnnC', fetch($s, 8);
        my $text = fetch($s, $n + $pad);

        $params .= substr $text, 0, $n if $type == 4;
        last if $type == 5 && $n == 0;
    }

    while (length $params) {
        my ($n, $m) = map {
            my $l = unpack 'C', $params;
            $l = unpack('N', $params) & 0x7fffffff if $l > 127;
            substr $params, 0, $l > 127 ? 4 : 1, '';
            $l;
        } 1 .. 2;

        my $name = substr $params, 0, $n, '';
        $is{$name} = substr $params, 0, $m, '';
    }

    return (\%is, sub {
        pack('CCnnCC', 1, 6, 1, length $_[0], 0, 0) . $_[0]
        . pack('CCnnCC', 1, 3, 1, 8, 0, 0) . "\0" x 8;
    });
}


sub scgi {
    my ($s) = @_;

    my ($n, $c) = ('');

    $n .= $c while ($c = fetch($s, 1)) =~ /\d/;

    return ({ split /\0/, fetch($s, $n + 1) =~ s/\0,$//r, -1 },
            sub { "Status: 200\r\n$_[0]" });
}


sub uwsgi {
    my ($s) = @_;

    my (undef, $n) = unpack 'Cv', fetch($s, 4);

    return ({ unpack '(v/a*)*', fetch($s, $n) },
            sub { "HTTP/1.1 200 OK\r\n$_[0]" });
}
