
# An answer that was on its way while its record changed is not kept.
#
# Worker A has asked Redis, Redis has answered with the old record, A has not
# read it yet; then the key is revoked and worker B, which reads the changes,
# learns of it; then A goes on.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use IO::Socket::INET;
use Time::HiRes qw(sleep time);


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
my @keys = map { key_new($t) } 1 .. 6;

edge($t, workers => 2, http => 'add_header X-Pid $pid always;
                                keepalive_timeout 60s;');
$t->wait_for(sub { status($t, $keys[0]) == 200 }, 'admitted');
shift @keys;

my ($a, $b) = $t->workers;
my %on;

$t->wait_for(sub {
    my $c = client();
    send_to($c, $keys[-1]);
    my ($status, $pid) = answer($c);
    $on{$pid} //= $c;
    keys %on == 2;
}, 'a connection to each worker');


sub client {
    return IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('edge1'))
        || die "connect: $!";
}


sub send_to {
    my ($c, $key) = @_;

    print $c "HEAD /file HTTP/1.1\r\nHost: a\r\nX-API-Key: $key->{key}\r\n",
             "\r\n";
}


sub answer {
    my ($c) = @_;
    my ($status, $pid);

    while (my $line = <$c>) {
        $status = $1 if $line =~ m{^HTTP/1.1 (\d+)};
        $pid = $1 if $line =~ m{^X-Pid: (\d+)};
        last if $line eq "\r\n";
    }

    return ($status, $pid);
}


sub on {
    my ($pid, $key) = @_;

    send_to($on{$pid}, $key);

    return (answer($on{$pid}))[0];
}


for my $key (@keys[0 .. 3]) {

    # who hangs loses the lease: now B reads the changes

    kill 'STOP', $a;
    sleep 0.2;
    kill 'CONT', $a;
    sleep 0.1;

    $t->signal('redis', 'STOP');
    send_to($on{$a}, $key);
    sleep 0.02;
    kill 'STOP', $a;
    $t->signal('redis', 'CONT');

    $t->sql('update usher.key set revoked_at = now() where id = ?',
            $key->{id});
    $t->wait_for(sub { on($b, $key) == 401 }, 'B knows that it is revoked');
    kill 'CONT', $a;

    my ($status) = answer($on{$a});
    note "A answered $status";

    my @after = map { sleep 0.02; (on($a, $key), on($b, $key)) } 1 .. 10;
    is((grep { $_ != 401 } @after), 0, 'revoked it stays') or diag "@after";
}

done_testing();
