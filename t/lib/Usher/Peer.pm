package Usher::Peer;

# A server that answers as it is told, well or not, for what usherd asks
# others; and what it was asked.
#
#     my $peer = Usher::Peer->new($t, sub ($path, $socket, $request) {
#         print $socket "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
#     }, '::1');                        # by default 127.0.0.1
#     $peer->port;
#     $peer->asked;                     # request heads, one each

use v5.36;

use IO::Socket::IP;


sub new ($class, $t, $answer, $host = '127.0.0.1') {
    state $n = 0;

    my $log = "$t->{dir}/peer" . ++$n;
    my $listen = IO::Socket::IP->new(LocalHost => $host, LocalPort => 0,
                                     Listen => 64) or die "peer: $@\n";
    my $self = bless { log => $log, port => $listen->sockport }, $class;

    $self->{pid} = fork // die "fork: $!\n";

    if ($self->{pid} == 0) {
        $SIG{TERM} = 'DEFAULT';
        $SIG{CHLD} = 'IGNORE';

        while (1) {
            my $socket = $listen->accept or next;

            next if fork;
            $SIG{PIPE} = $SIG{ALRM} = 'DEFAULT';
            alarm 60;
            serve($socket, $answer, $log);
            POSIX::_exit(0);
        }
    }

    return $self;
}


sub serve ($socket, $answer, $log) {
    my $request = '';

    while ($request !~ /\r\n\r\n/) {
        sysread $socket, $request, 65536, length $request or last;
    }

    if ($request =~ /^Content-Length: (\d+)/mi) {
        my $end = index($request, "\r\n\r\n") + 4 + $1;

        while (length $request < $end) {
            sysread $socket, $request, 65536, length $request or last;
        }
    }

    # one write each: several append at once

    open my $fh, '>>', $log or die "$log: $!\n";
    syswrite $fh, $request =~ s/\r//gr . "\0";

    $socket->autoflush(1);
    $answer->(($request =~ m{^\S+ (\S+)})[0] // '', $socket, $request);
}


sub DESTROY ($self) { kill 'KILL', $self->{pid} if $self->{pid} }

sub port ($self) { $self->{port} }

sub asked ($self) {
    open my $fh, '<', $self->{log} or return;
    local $/;

    return split /\0/, <$fh> // '';
}


1;
