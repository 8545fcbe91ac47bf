package Usher::Proxy;

# Stands between usherd and PostgreSQL, and loses an answer when it is told
# to: what was asked has happened then, and nobody hears of it.

use strict;
use warnings;

use IO::Select;
use IO::Socket::UNIX;

use Usher::Test::Process qw(spawn);


sub new {
    my ($class, $t) = @_;

    my $dir = "$t->{dir}/proxy";

    mkdir $dir;
    chmod 0777, $dir;

    my $self = bless { t => $t, dir => $dir }, $class;
    my $listen = IO::Socket::UNIX->new(Local => "$dir/.s.PGSQL.5432",
                                       Listen => 16) or die "proxy: $!\n";
    chmod 0777, "$dir/.s.PGSQL.5432";

    $self->{pid} = fork // die "fork: $!\n";

    if ($self->{pid} == 0) {
        $SIG{TERM} = 'DEFAULT';
        $self->serve($listen);
        POSIX::_exit(0);
    }

    return $self;
}


sub DESTROY { kill 'KILL', $_[0]{pid} if $_[0]{pid} }

sub conninfo { my $dsn = $_[0]{t}->dsn($_[1]); $dsn =~ s/host=\S+/host=$_[0]{dir}/;
               $dsn }

# The connection is closed instead of passing the answer to what contains it.

sub lose {
    my ($self, $text) = @_;

    open my $fh, '>', "$self->{dir}/lose.new" or die "$!\n";
    print $fh $text;
    close $fh;
    rename "$self->{dir}/lose.new", "$self->{dir}/lose";
}


sub lost { !-e "$_[0]{dir}/lose" }


sub serve {
    my ($self, $listen) = @_;

    my $select = IO::Select->new($listen);
    my (%peer, %client, %waits);

    while (1) {
        for my $fh ($select->can_read(1)) {

            if ($fh == $listen) {
                my $in = $listen->accept or next;
                my $out = IO::Socket::UNIX->new(
                    Peer => "$self->{t}{dir}/.s.PGSQL.5432");
                if (!$out) { close $in; next }
                ($peer{$in}, $peer{$out}) = ($out, $in);
                $client{$in} = 1;
                $select->add($in, $out);
                next;
            }

            my $other = $peer{$fh} or next;
            my $n = sysread $fh, my $data, 65536;

            if (!$n || delete $waits{$fh}) {
                unlink "$self->{dir}/lose" if $n;
                $select->remove($fh, $other);
                delete @peer{$fh, $other};
                close $fh;
                close $other;
                next;
            }

            if ($client{$fh} && open my $lose, '<', "$self->{dir}/lose") {
                my $text = <$lose>;
                $waits{$other} = 1 if index($data, $text) >= 0;
            }

            while (length $data) {
                my $sent = syswrite $other, $data or last;
                substr($data, 0, $sent) = '';
            }
        }
    }
}


1;
