package Judge;

# What must be true after the crowd has gone, decided id by id.
#
# Three witnesses speak of a request: the crowd (sent, answered), nginx's
# access log, which is written right after Usher's event was appended, and
# the rows.  So:
#
#   - no id has two rows;
#   - an id in the access log has a row, whoever was killed when;
#   - an answered id has a row, unless it was answered by a worker that was
#     killed before it could write the access log: the last of its connection;
#   - an unanswered id without a row was open on a connection whose worker was
#     killed, or was never read: its connection was closed by a reload;
#   - a click, whose id begins with "l", is written down before it is answered:
#     no kill excuses one that was.  One that was refused is none.
#
# On a node whose journal was full the number of missing ids is the number of
# drops it counted.

use v5.36;

# An answer may reach the crowd this long (s) after its worker was killed,
# since the crowd reads it late.
my $LATE = 1.0;

# ... or was read, but not logged yet, this long before.
my $EARLY = 0.25;


# kills: [{ at, pid, edge }]; closings: [{ at, edge }], when nginx may close
# idle connections; logs: paths; edges: names in the order of the targets.

sub new ($class, %opt) {
    return bless { %opt, sent => {}, answered => {}, conn => {}, logged => {},
        rows => {}, status => {}, clicks => {} }, $class;
}


sub is_click ($id) { return $id =~ /-ls?\d+\z/ }


# Of clicks, those that were taken.

sub taken ($id, $status) { return !is_click($id) || $status =~ /^(?:302|404)$/ }


sub read_crowd ($self, $path) {
    my (%open);

    open my $f, '<', $path or die "$path: $!\n";

    while (my $line = <$f>) {
        my ($time, $what, $serial, @more) = split ' ', $line;

        $time /= 1e6;

        if ($what eq 's') {
            next if $more[0] =~ /-v\d+\z/;     # those are in Books.pm
            $self->{sent}{ $more[0] } = [ $time, $serial ];
            $self->{clicks}{ $more[0] } = { slug => $more[1],
                agent => $more[2] } if @more > 1;

        } elsif ($what eq 'a') {
            $self->answered($time, @more);
            my $conn = $self->{conn}{$serial};
            $conn->{pid} = $more[2] if $more[2];
            $conn->{last} = $more[0];

        } elsif ($what eq 'r') {
            $self->{reset}{ $more[0] } = $time;

        } elsif ($what eq 'o') {
            $self->{conn}{$serial} = { target => $more[0], opened => $time,
                protocol => $more[1], pid => 0, last => '' };

        } elsif ($what eq 'c') {
            $self->{conn}{$serial}{closed} = $time;
            $self->{conn}{$serial}{why} = $more[0] // '';
        }
    }
}


sub answered ($self, $time, $id, $status, $pid, $location = undef) {
    $self->{status}{$status}++;
    return if $id =~ /-v\d+\z/;

    if (my $click = $self->{clicks}{$id}) {
        @$click{qw(status location took)} = ($status, $location,
            $time - $self->{sent}{$id}[0]);
    }

    if (taken($id, $status)) {
        $self->{answered}{$id} = $time;
    } else {
        $self->{refused}{$id} = $status;
    }
}


sub read_logs ($self, @paths) {
    for my $path (@paths) {
        open my $f, '<', $path or die "$path: $!\n";

        while (my $line = <$f>) {
            my ($status, $id) = (split ' ', $line)[2, 3];
            $self->{logged}{$id} = 1
                if $line =~ /\n\z/ && exists $self->{sent}{$id}
                    && taken($id, $status);
        }
    }
}


sub read_rows ($self, $db) {
    my $query = $db->prepare('select request_id, count(*) from usher.request '
        . 'where request_id like $1 group by 1 union all '
        . 'select sub1, count(*) from usher.click '
        . 'where sub1 like $1 group by 1');

    $query->execute("$self->{prefix}-%");
    $self->{rows} = {};
    while (my ($id, $n) = $query->fetchrow_array) {
        $self->{rows}{$id} = $n;
    }
}


sub conn_of ($self, $id) {
    return $self->{conn}{ $self->{sent}{$id}[1] };
}


sub edge_of ($self, $id) {
    return $self->{edges}[ $self->conn_of($id)->{target} ];
}


# The kill that ended a connection, if one did.

sub kill_of_conn ($self, $conn) {
    return $conn->{kill} if exists $conn->{kill};

    my $edge = $self->{edges}[ $conn->{target} ];

    for my $kill (@{ $self->{kills} }) {
        next if $kill->{edge} ne $edge;
        next if $conn->{pid} && $conn->{pid} != $kill->{pid};
        next if $conn->{opened} > $kill->{at} + $LATE;
        next if ($conn->{closed} // 9e99) < $kill->{at};
        return $conn->{kill} = $kill;
    }

    return $conn->{kill} = undef;
}


# The kill that had this request open, if there was one.

sub kill_of ($self, $id) {
    my $conn = $self->conn_of($id);
    my $kill = $self->kill_of_conn($conn) // return;
    my $answered = $self->{answered}{$id} // return $kill;

    return if is_click($id);
    return if $answered < $kill->{at} - $EARLY
        || $answered > $kill->{at} + $LATE
        || ($conn->{protocol} == 1 && $conn->{last} ne $id);

    return $kill;
}


# Was the connection closed when nginx may close idle ones?

sub closing_of ($self, $id) {
    my $conn = $self->conn_of($id);
    my $edge = $self->edge_of($id);
    my $closed = $conn->{closed} // return;

    for my $closing (@{ $self->{closings} }) {
        return $closing if $closing->{edge} eq $edge
            && $closed >= $closing->{at} - 0.01
            && $closed <= $closing->{at} + 8;
    }

    return;
}


# Why this id has no row: [allowed?, words].

sub verdict ($self, $id) {
    my $edge = $self->edge_of($id);

    if ($self->{full}{$edge} && ($self->{logged}{$id}
        || defined $self->{answered}{$id}))
    {
        return ['full', 'journal of ' . $edge . ' full'];
    }

    if ($self->{logged}{$id}) {
        return ['lost', 'in the access log'];
    }

    if (my $kill = $self->kill_of($id)) {
        $kill->{missing}++;
        return ['allowed', "open when worker $kill->{pid} was killed"];
    }

    if (defined $self->{answered}{$id}) {
        return ['lost', 'answered'];
    }

    if ($self->{reset}{$id}) {
        return ['unread', 'stream refused'];
    }

    if ($self->closing_of($id)) {
        return ['unread', 'connection closed by a reload'];
    }

    return ['lost', 'open on a connection that nobody killed, '
        . $self->story($id)];
}


# What the crowd saw of an id's connection, for whoever looks for the loss.

sub story ($self, $id) {
    my $conn = $self->conn_of($id);
    my $sent = $self->{sent}{$id}[0];

    return sprintf 'HTTP/%d, worker %d, opened %.3f s before, %s %.3f s after',
        @$conn{qw(protocol pid)}, $sent - $conn->{opened},
        $conn->{why} || 'never closed', ($conn->{closed} // $sent) - $sent;
}


# What each killed worker may have lost at most: the connections it had, and
# on one of HTTP/2 the streams that were open.

sub open_at ($self) {
    my %streams;

    for my $id (keys %{ $self->{sent} }) {
        my $serial = $self->{sent}{$id}[1];

        $streams{$serial}++ if $self->{conn}{$serial}{protocol} == 2
            && $self->kill_of($id);
    }

    for my $kill (@{ $self->{kills} }) {
        $kill->{open} = 0;
    }

    for my $serial (keys %{ $self->{conn} }) {
        my $kill = $self->kill_of_conn($self->{conn}{$serial}) // next;

        $kill->{open} += $streams{$serial} // 1;
    }
}


# { doubled => [...], lost => [[id, why]], allowed => ..., unread => ...,
#   full => { edge => n } }

sub judge ($self) {
    my %result = (doubled => [], lost => [], allowed => [], unread => [],
        full => {});

    $self->open_at;

    for my $id (sort keys %{ $self->{sent} }) {
        my $rows = $self->{rows}{$id} // 0;

        push @{ $result{doubled} }, [$id, $rows] if $rows > 1;
        push @{ $result{lost} }, [$id, "refused, $self->{refused}{$id}, but a "
            . 'row'] if $rows && $self->{refused}{$id};
        next if $rows || $self->{refused}{$id};

        my ($what, $why) = @{ $self->verdict($id) };

        if ($what eq 'full') {
            $result{full}{ $self->edge_of($id) }++;
        } else {
            push @{ $result{$what} }, [$id, $self->edge_of($id) . ": $why"];
        }
    }

    return \%result;
}


1;
