package Usher::Slot;

# Plays the edge of one slot: a history of lines, shipped to Redis as entries
# of a stream, well or badly.
#
#     my $slot = Usher::Slot->new($t);           # registered in usher:slots
#     $slot->append($slot->requests(10));        # lines, not shipped yet
#     $slot->ship;                               # what was not, as one entry
#     $slot->takeup(0);                          # DEL, and all from 0 on
#     my ($position, $nonce, $state) = $slot->ack;

use strict;
use warnings;
no warnings "portable";

use Digest::SHA ();
use POSIX ();
use Redis;

my @crc;
my $number = 0;


for my $i (0 .. 255) {
    my $v = $i;
    $v = $v & 1 ? ($v >> 1) ^ 0x95ac9329ac4bc9b5 : $v >> 1 for 1 .. 8;
    push @crc, $v;
}


sub new {
    my ($class, $t, %opt) = @_;

    my $id = $opt{id} // join '', map { sprintf '%02x', rand 256 } 1 .. 16;
    my $self = bless { t => $t, id => $id, node => $opt{node} // 'edge1',
                       bytes => '', shipped => 0, ids => [] }, $class;

    $self->register unless $opt{unregistered};

    return $self;
}


sub id  { $_[0]{id} }
sub end { length $_[0]{bytes} }
sub key { "usher:ev:$_[0]{id}" }


sub redis {
    my ($self) = @_;

    return $self->{t}{edge_redis}
        if $self->{t}{edge_redis} && eval { $self->{t}{edge_redis}->ping };

    return $self->{t}{edge_redis}
        = Redis->new(sock => "$self->{t}{dir}/redis.sock", encoding => undef,
                     map { (password => $_) } $ENV{REDISCLI_AUTH} // ());
}


sub register {
    my ($self) = @_;

    my $now = time;

    $self->redis->hset('usher:slots', $self->{id},
        qq({"node":"$self->{node}","boot":"b","pid":$$,"created":$now,)
        . qq("seen":$now}));
}


# n request events, each with a request_id of its own

sub requests {
    my ($self, $n, %col) = @_;

    return map {
        my $id = $col{request_id} // sprintf 'req-%s-%d', substr($self->{id},
                                             0, 6), ++$number;
        push @{ $self->{ids} }, $id;
        join("\t", 'r1',
             $col{event_time} // POSIX::strftime('%Y-%m-%d %H:%M:%S.123+00',
                                                 gmtime),
             $col{key_id} // 17, $col{route} // '/v1/', $col{status} // 200,
             $col{units} // 1, $col{bytes_sent} // 1234,
             $col{duration_ms} // 5, $col{org_id} // 5, $id,
             $self->{node}, 'GET', 'example.com', '/v1/things',
             $col{address} // '192.0.2.1', 'curl/8', '', 'ok', 'ok',
             'HTTP/1.1', $col{flags} // 0) . "\n"
    } 1 .. $n;
}


sub hook {
    my ($self, $source, $delivery, %col) = @_;

    return join("\t", 'h1', $source, $delivery, '2026-01-01 00:00:00.000+00',
                $col{id} // '', $col{headers} // '{}', '\\\\x6869', 0, 0)
           . "\n";
}


# What was said of a transaction; columns that are not given are empty.

sub conversion {
    my ($self, $transaction, %col) = @_;

    my @said = ($transaction, map { $col{$_} // '' }
                qw(status amount sale_amount currency customer coupon
                   status_time event_id subscription cookie));
    my ($click, $origin) = ($col{click_id} // '', $col{origin} // 'postback');
    my $digest = $col{digest}
        // Digest::SHA::sha256_hex(join "\t", @said, $click, $origin);

    return join("\t", 'v1',
                $col{event_time} // POSIX::strftime('%Y-%m-%d %H:%M:%S.123+00',
                                                    gmtime),
                $col{postback_id} // 1, $col{org_id} // 1, $origin,
                $col{click_status} // ($click eq '' ? 1 : 0), $click, @said,
                "\\\\x$digest", $self->{node}, 'req-c-' . ++$number,
                $col{address} // '192.0.2.1', $col{query} // 'a=1',
                $col{flags} // 0) . "\n";
}


sub append {
    my ($self, @lines) = @_;

    $self->{bytes} .= join '', @lines;

    return $self;
}


# CRC-64 of what lies before a position, as 16 hex digits

sub chain {
    my ($self, $position) = @_;

    return sprintf '%016x', crc(0, substr $self->{bytes}, 0, $position);
}


sub crc {
    my ($crc, $bytes) = @_;

    $crc = $crc[($crc ^ $_) & 255] ^ ($crc >> 8) for unpack 'C*', $bytes;

    return $crc;
}


# The fields of an entry; %opt: from, to, and what is to be wrong in it

sub entry {
    my ($self, %opt) = @_;

    my $from = $opt{from} // $self->{shipped};
    my $to = $opt{to} // $self->end;
    my $data = $opt{data} // substr $self->{bytes}, $from, $to - $from;

    return ("$to-0", v => $opt{version} // 1, f => $from,
            n => $opt{count} // ($data =~ tr/\n//),
            c => $opt{chain} // $self->chain($from), d => $data);
}


sub ship {
    my ($self, %opt) = @_;

    my @entry = $self->entry(%opt);

    $self->redis->xadd($self->key, @entry);
    $self->{shipped} = $opt{to} // $self->end;

    return $self;
}


# MULTI, DEL, XADD, EXEC; then the rest, an entry per $opt{step} bytes or one

sub takeup {
    my ($self, $from, %opt) = @_;

    my $redis = $self->redis;

    $redis->multi;
    $redis->del($self->key);
    $redis->xadd($self->key, $self->entry(from => $from, %opt));
    $redis->exec;

    $self->{shipped} = $opt{to} // $self->end;
    $self->register;

    return $self;
}


sub hole {
    my ($self, $from, $to, $reason) = @_;

    $self->redis->xadd($self->key, "$to-0", v => 1, f => $from,
                       c => $self->chain($to), h => $reason);
    $self->{shipped} = $to;

    return $self;
}


sub close {
    my ($self, $end) = @_;

    $end //= $self->end;

    $self->redis->xadd($self->key, "$end-1", v => 1, f => $end, e => 1);

    return $self;
}


# (position, nonce, state), or nothing

sub ack {
    my ($self) = @_;

    return split / /, $self->redis->get("usher:ack:$self->{id}") // '';
}


sub ack_is {
    my ($self, $position, $state) = @_;

    my @ack = $self->ack;

    return @ack == 3 && $ack[0] == $position && $ack[2] eq $state;
}


# ---- what PostgreSQL has of it

sub position { scalar $_[0]{t}->sql(
    'select position from usher.journal where slot = ?', $_[0]{id}) // -1 }

sub state { scalar $_[0]{t}->sql(
    'select state from usher.journal where slot = ?', $_[0]{id}) // '' }

sub stored {
    my ($self, $position) = @_;

    return $self->position == ($position // $self->end);
}


# Each request once and none else: '' or what is wrong.

sub once {
    my ($self) = @_;

    my %want = map { $_ => 1 } @{ $self->{ids} };
    my %have;

    $have{ $_->[0] }++ for $self->{t}->rows(
        'select request_id from usher.request where request_id like ?',
        'req-' . substr($self->{id}, 0, 6) . '-%');

    my @bad = ((map { "missing $_" } grep { !$have{$_} } sort keys %want),
               (map { "$_ x $have{$_}" } grep { $have{$_} != 1 || !$want{$_} }
                sort keys %have));

    return join ', ', @bad;
}


1;
