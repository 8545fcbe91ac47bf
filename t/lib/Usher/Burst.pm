package Usher::Burst;

# Many requests in one turn of a worker's loop: HTTP/2, 128 on a connection.
#
#     my $burst = Usher::Burst->new($port, $connections, sub { "127.0.0.$_" });
#     my @status = $burst->send(@keys);     # the worker stands meanwhile

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);

use constant {
    STREAMS => 128, HEADERS => 1, SETTINGS => 4, WHOLE => 0x5, ACK => 1
};


# One address for all, or what the code says of the n-th in $_.

sub new {
    my ($class, $port, $n, $address) = @_;

    my @connections = map {
        my $c = IO::Socket::INET->new(
            PeerAddr => "127.0.0.1:$port",
            LocalAddr => $address ? $address->() : '127.0.0.1')
            or die "connect: $!\n";

        print $c "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(SETTINGS, 0, 0, '');
        { socket => $c, buffer => '', next => 1, asked => {} };
    } 1 .. $n;

    my $self = bless { connections => \@connections }, $class;

    # settled: the worker has them all

    $self->read_all(sub { $_[0]{settled} });

    return $self;
}


sub frame {
    my ($type, $flags, $stream, $payload) = @_;

    return substr(pack('N', length $payload), 1) . pack('CCN', $type, $flags,
                                                        $stream) . $payload;
}


# GET /file with an X-API-Key, without Huffman and without the dynamic table.

sub headers {
    my ($key) = @_;

    return "\x82\x86" . join '', "\x04", text('/file'), "\x01", text('a'),
                                 "\x00", text('x-api-key'), text($key);
}

sub text { return pack('C/a*', $_[0]) }


# Gives $then the requests of all keys, in turn, on all connections, calls it
# when they are sent, and returns their statuses.

sub send {
    my ($self, $then, @keys) = @_;

    my @status;
    my $n = 0;

    for my $key (@keys) {
        my $c = $self->{connections}[$n / STREAMS];

        $c->{out} .= frame(HEADERS, WHOLE, $c->{next}, headers($key));
        $c->{asked}{$c->{next}} = \$status[$n++];
        $c->{next} += 2;
    }

    for my $c (@{ $self->{connections} }) {
        print { $c->{socket} } delete $c->{out} // '';
        $c->{socket}->flush;
    }

    $then->();
    $self->read_all(sub { !%{ $_[0]{asked} } });

    return @status;
}


sub read_all {
    my ($self, $done) = @_;

    my %open = map { $_->{socket} => $_ } @{ $self->{connections} };
    my $until = time + 60;

    while (my @left = grep { !$done->($_) } values %open) {
        my $select = IO::Select->new(map { $_->{socket} } @left);

        die "no answer\n" if time > $until;

        for my $socket ($select->can_read(1)) {
            my $c = $open{$socket};

            sysread($socket, $c->{buffer}, 65536, length $c->{buffer})
                or die "the connection was closed\n";
            frames($c);
        }
    }
}


sub frames {
    my ($c) = @_;

    while (length $c->{buffer} >= 9) {
        my ($high, $low, $type, $flags, $stream) =
            unpack 'CnCCN', $c->{buffer};
        my $len = ($high << 16) + $low;

        return if length $c->{buffer} < 9 + $len;

        my $payload = substr $c->{buffer}, 9, $len;
        substr($c->{buffer}, 0, 9 + $len) = '';

        $c->{settled} = 1 if $type == SETTINGS && $flags & ACK;

        # the status comes first; 200 is in the static table

        if ($type == HEADERS && (my $to = delete $c->{asked}{$stream})) {
            $$to = $payload =~ /^[\x20-\x3f]*(?:(\x88)|[\x08\x48]\x03(\d{3}))/
                   ? $1 ? 200 : $2 : die "no status\n";
        }
    }
}


1;
