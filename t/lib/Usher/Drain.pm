package Usher::Drain;

# Plays usherd for the tests of the journal: reads what the edge ships, holds
# it against the rules of the stream, and acknowledges as it is told.
#
#     my $d = Usher::Drain->new($t);
#     $d->pull;                      # reads new entries of all slots
#     $d->ack;                       # acknowledges all that was read
#     $d->lines                      # of all slots, each once
#     $d->faults                     # what broke a rule
#
# A slot is what PostgreSQL would have of it: position and bytes.  An entry
# below the position is skipped, one above it asks for a rewind.

use strict;
use warnings;
no warnings 'portable';

use Redis;
use Time::HiRes ();

my @crc;

for my $i (0 .. 255) {
    my $v = $i;
    $v = $v & 1 ? ($v >> 1) ^ 0x95ac9329ac4bc9b5 : $v >> 1 for 1 .. 8;
    push @crc, $v;
}


sub new {
    my ($class, $t) = @_;

    return bless { t => $t, slot => {}, faults => [], nonce => 1 }, $class;
}


sub redis {
    my ($self) = @_;

    return $self->{redis} if $self->{redis} && eval { $self->{redis}->ping };

    return $self->{redis} = Redis->new(
        sock => "$self->{t}{dir}/redis.sock", encoding => undef);
}


# nginx.conf with a journal; %opt: journal => its parameters, server => lines

sub conf {
    my ($class, %opt) = @_;

    my $journal = $opt{journal} // 'sync=50ms';
    my $redis = $opt{no_redis} ? '' : 'usher_redis %%REDIS%%;';
    my $path = $opt{path} // '%%DIR%%/journal';

    return <<"CONF";
    usher_zone 1m;
    usher_journal $path $journal;
    $redis
    client_body_buffer_size 1m;
    client_max_body_size 64m;

    server {
        listen 127.0.0.1:%%PORT%%;
        location = /line { usher_test_line; }
        $opt{server}
    }
CONF
}


# Appends n lines of about size bytes, as the log phase would; returns them
# when all were taken, otherwise nothing.

my $fed = 0;

sub feed {
    my ($self, $n, $size) = @_;

    my @lines = map {
        my $head = sprintf "r1\t%d-%d-", $$, ++$fed;
        $head . 'x' x (($size // 100) - length($head) - 1);
    } 1 .. $n;

    my $answer = $self->{t}->post('/line', join('', map { "$_\n" } @lines));

    return ($answer->status // 0) == 204 ? @lines : ();
}


# Are these lines all there is, each once?

sub exactly {
    my ($self, @lines) = @_;

    my %seen;

    $seen{$_}++ for $self->lines;

    my @twice = grep { $seen{$_} > 1 } keys %seen;
    my @missing = grep { !delete $seen{$_} } @lines;
    my @surplus = keys %seen;

    return '' if !@twice && !@missing && !@surplus && !$self->faults;
    return sprintf '%d twice, %d missing, %d surplus; %s', scalar @twice,
        scalar @missing, scalar @surplus, join '; ', $self->faults;
}


# Directories of slots on disk.

sub dirs {
    my ($self, $node) = @_;

    $node //= $self->{t}{node};

    return map { m{/([0-9a-f]{32})$} ? $1 : () }
           glob "$self->{t}{dir}/$node/journal/*";
}


sub crc64 {
    my ($crc, $bytes) = @_;

    $crc = $crc[($crc ^ $_) & 255] ^ ($crc >> 8) for unpack 'C*', $bytes;

    return $crc;
}


sub slots  { my @s = sort keys %{ $_[0]{slot} }; @s }
sub slot   { $_[0]{slot}{$_[1]} //= { position => 0, bytes => '', holes => [],
                                      chain => 0, read => '0-0' } }
sub faults { @{ $_[0]{faults} } }
sub lines  { my ($self) = @_; map { split /\n/, $self->{slot}{$_}{bytes} }
             $self->slots }
sub known  { my @s = sort $_[0]->redis->hkeys('usher:slots'); @s }


# One reading of all streams; returns the number of new bytes.

sub pull {
    my ($self) = @_;

    my $n = 0;

    for my $id ($self->known) {
        my $s = $self->slot($id);

        next if ($s->{state} // '') eq 'f';

        for my $entry (@{ $self->redis->xrange("usher:ev:$id", '-', '+') }) {
            $n += $self->entry($id, $s, $entry->[0], @{ $entry->[1] });
        }
    }

    return $n;
}


sub entry {
    my ($self, $id, $s, $at, %f) = @_;

    my ($end, $minor) = split /-/, $at;
    my $fault = sub { push @{ $self->{faults} }, "$id $at: @_"; 0 };

    return $fault->('version') unless ($f{v} // '') eq '1';

    if ($f{e}) {
        return $fault->('end entry') if $minor ne '1' || $f{f} != $end;
        $s->{ended} = 1 if $end == $s->{position};
        return 0;
    }

    return $fault->('minor') if $minor ne '0';
    return 0 if $end <= $s->{position};

    if ($f{f} > $s->{position}) {
        $s->{rewind} = 1;
        return 0;
    }

    if (defined $f{h}) {
        push @{ $s->{holes} }, [ $s->{position}, $end, $f{h} ];
        $s->{bytes} .= "\0" x ($end - $s->{position});
        $s->{position} = $end;
        $s->{chain} = hex $f{c};
        return 0;
    }

    return $fault->('length') if length $f{d} != $end - $f{f};
    return $fault->('lines') if $f{n} != ($f{d} =~ tr/\n//);
    return $fault->('no line feed at its end') if $f{d} !~ /\n\z/;

    my $skip = $s->{position} - $f{f};

    if ($skip) {
        return $fault->('other bytes than before')
            if substr($f{d}, 0, $skip) ne substr $s->{bytes}, $f{f}, $skip;

    } elsif (hex $f{c} != $s->{chain}) {
        return $fault->('chain');
    }

    my $new = substr $f{d}, $skip;

    $s->{chain} = crc64($s->{chain}, $new);
    $s->{bytes} .= $new;
    $s->{position} = $end;

    return length $new;
}


# Writes the acknowledgement of every slot; at => what PostgreSQL "has".

sub ack {
    my ($self, %opt) = @_;

    for my $id ($opt{slot} // $self->slots) {
        my $s = $self->slot($id);

        # retired meanwhile: an acknowledgement would be left over

        next if $s->{ended} && !$self->redis->hexists('usher:slots', $id);

        my $position = $opt{at} // $s->{position};
        my $state = $opt{state} // ($s->{rewind} ? 'r' : $s->{state} // 'o');

        $s->{state} = 'f' if $state eq 'f';

        $self->{nonce}++ if $state eq 'r';
        $s->{rewind} = 0;

        if ($position < $s->{position}) {
            $s->{bytes} = substr $s->{bytes}, 0, $position;
            $s->{position} = $position;
            $s->{chain} = crc64(0, $s->{bytes});
        }

        $self->redis->set("usher:ack:$id", sprintf '%d %016x %s', $position,
                          $self->{nonce}, $state);

        next if $state ne 'o' || $opt{keep};

        $self->redis->xtrim("usher:ev:$id", 'MINID',
                            "$position-" . ($s->{ended} ? 2 : 1))
            if $self->redis->exists("usher:ev:$id");
    }
}


# Pulls and acknowledges until a condition holds, or for some seconds.

sub drain {
    my ($self, $until, $seconds) = @_;

    my $deadline = Time::HiRes::time() + ($seconds // 15);

    while (Time::HiRes::time() < $deadline) {
        eval { $self->pull; $self->ack; 1 } or delete $self->{redis};
        return 1 if $until->();
        Time::HiRes::sleep(0.05);
    }

    return 0;
}


1;
