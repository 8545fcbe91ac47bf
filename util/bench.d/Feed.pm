package Feed;

# Rows for usherd that no measured worker ships: the control of the bench.
# What stores the rows of the journal's contestant runs beside its worker, and
# slows it by memory and caches that they share.  A plain nginx beside the
# same work tells how much of the difference that is.
#
#     my $feed = Feed->new($t, requests => 4000, rounds => 45);
#     my $pid = $feed->start($seconds);     # a round's rows, spread over them
#     waitpid $pid, 0;

use v5.36;

use POSIX qw(_exit);
use Redis;
use Time::HiRes qw(sleep);

use Usher::Slot;


# By table: the kind of its events, its columns as they are in a line, and
# which of them is the id.

my %KIND = (
    request => [ 'r1', 'event_time, key_id, route, status, units, bytes_sent, '
        . 'duration_ms, org_id, request_id, node, method, host, uri, address, '
        . 'user_agent, referer, auth_status, limit_status, protocol, flags',
        8 ],
    click => [ 'c1', 'event_time, link_id, reason, target, org_id, click_id, '
        . 'node, host, slug, country, device, os, language, referrer, sub1, '
        . 'sub2, sub3, sub4, sub5, visitor, address, status, flags', 5 ],
);


# The lines are those of a row that the journal's contestant made, with ids of
# their own; entries have 64 KB, as an edge ships them.

sub new ($class, $t, %opt) {
    my $self = bless { t => $t, %opt, slot => Usher::Slot->new($t,
        node => 'beside') }, $class;
    my ($head, $tail) = $self->row;
    my ($end, $crc, $number) = (0, 0, 0);

    for my $round (1 .. $opt{rounds}) {
        my $bytes = join '', map { sprintf "%s%032x%s", $head, ++$number,
                                           $tail } 1 .. $opt{requests};
        my @entries;

        while (length $bytes) {
            my $n = length $bytes > 65536 ? 1 + rindex $bytes, "\n", 65535
                                          : length $bytes;
            my $data = substr $bytes, 0, $n, '';
            my $from = $end;

            $end += $n;
            push @entries, [ $self->{slot}->key, "$end-0", v => 1, f => $from,
                n => scalar($data =~ tr/\n//), c => sprintf('%016x', $crc),
                d => $data ];
            $crc = Usher::Slot::crc($crc, $data);
        }

        push @{ $self->{rounds_of} }, \@entries;
    }

    return $self;
}


# A line as the edge wrote it, without its request_id.

sub row ($self) {
    my $db = $self->{t}->db;
    my $table = $self->{table} // 'request';
    my ($line, $kind, $columns, $id) = ('', @{ $KIND{$table} });

    $self->{t}->await('a row', sub {
        $self->{t}->sql("select count(*) from usher.$table") > 0;
    });
    $db->do("copy (select $columns from usher.$table limit 1) to stdout");
    $db->pg_getcopydata($line);
    1 while $db->pg_getcopydata(my $rest) >= 0;

    my @column = split /\t/, $line;

    return (join("\t", $kind, @column[0 .. $id - 1], ''),
            join("\t", '', @column[$id + 1 .. $#column]));
}


# A child that ships the rows of a round.

sub start ($self, $seconds) {
    my $entries = shift @{ $self->{rounds_of} };
    my $pid = fork() // die "fork: $!\n";

    return $pid if $pid;

    my $redis = eval { Redis->new(sock => "$self->{t}{dir}/redis.sock",
        encoding => undef) } or _exit(1);

    for my $entry (@$entries) {
        eval { $redis->xadd(@$entry) } or _exit(1);
        sleep $seconds / @$entries;
    }

    _exit(0);
}


1;
