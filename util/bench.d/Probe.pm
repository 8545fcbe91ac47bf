package Probe;

# Whether the workers' CPU is theirs alone.  The machine's two CPUs may be
# threads of cores whose other threads are somebody else's: while he works
# there, everything takes half as long again.  A known piece of work tells, at
# the cost of a few milliseconds between two pieces of load.
#
#     my $probe = Probe->new($here, $dir);
#     my $ms = $probe->ms;
#     $probe->await_quiet(2);          # seconds at most
#     $probe->limit;                   # what took longer was disturbed

use v5.36;

use IPC::Open2;
use Time::HiRes qw(sleep time);

our $QUIET = 1.15;    # times what it takes undisturbed


sub new ($class, $here, $dir) {
    my $self = bless { seen => [] }, $class;
    my $program = "$dir/bin/probe";

    system(qw(cc -std=gnu11 -O2 -Wall -Wextra -o), $program, "$here/probe.c")
        == 0 or die "cannot build probe.c\n";
    $self->{pid} = open2($self->{from}, $self->{to}, $program);
    $self->{to}->autoflush(1);
    $self->ms for 1 .. 100;

    return $self;
}


sub ms ($self) {
    my $from = $self->{from};

    print { $self->{to} } "\n";
    my $ms = <$from> // die "the probe is gone\n";
    push @{ $self->{seen} }, $ms + 0;

    return $ms + 0;
}


# Undisturbed is what the quickest twentieth took.

sub limit ($self) {
    my @sorted = sort { $a <=> $b } @{ $self->{seen} };

    return $QUIET * $sorted[@sorted / 20];
}


sub await_quiet ($self, $seconds) {
    my $end = time + $seconds;
    my $limit = $self->limit;

    while (time < $end) {
        return if $self->ms <= $limit && $self->ms <= $limit;
        sleep 0.005;
    }
}


sub stop ($self) {
    close $self->{to};
    waitpid $self->{pid}, 0;
}


1;
