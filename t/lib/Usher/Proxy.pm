package Usher::Proxy;

# Stands between usherd and PostgreSQL, and loses an answer when it is told
# to: what was asked has happened then, and nobody hears of it.  Or between
# usherd and Redis, and holds back what is asked: it comes late.

use strict;
use warnings;

use IO::Select;
use IO::Socket::UNIX;

use Usher::Test::Process qw(spawn);


sub new {
    my ($class, $t, $name) = @_;

    my $dir = "$t->{dir}/proxy";

    $name //= '.s.PGSQL.5432';
    mkdir $dir;
    chmod 0777, $dir;

    my $self = bless { t => $t, dir => $dir, name => $name }, $class;
    my $listen = IO::Socket::UNIX->new(Local => "$dir/$name", Listen => 16)
        or die "proxy: $!\n";
    chmod 0777, "$dir/$name";

    $self->{pid} = fork // die "fork: $!\n";

    if ($self->{pid} == 0) {
        $SIG{TERM} = 'DEFAULT';
        $self->serve($listen);
        POSIX::_exit(0);
    }

    return $self;
}


sub DESTROY { kill 'KILL', $_[0]{pid} if $_[0]{pid} }

sub conninfo {
    return $_[0]{t}->dsn($_[1]) =~ s/host=\S+/host=$_[0]{dir}/r;
}


sub address { "unix:$_[0]{dir}/$_[0]{name}" }


# The connection is closed instead of passing the answer to what contains it.

sub lose {
    my ($self, $text) = @_;

    open my $fh, '>', "$self->{dir}/lose.new" or die "$!\n";
    print $fh $text;
    close $fh;
    rename "$self->{dir}/lose.new", "$self->{dir}/lose";
}


sub lost { !-e "$_[0]{dir}/lose" }

# What matches, and all that the same client asks after it, is held back until
# it is let go, even if the client is dead by then; others pass.

sub hold {
    my ($self, $pattern) = @_;

    open my $fh, '>', "$self->{dir}/hold.new" or die "$!\n";
    print $fh $pattern;
    close $fh;
    rename "$self->{dir}/hold.new", "$self->{dir}/hold";
}


sub held { -e "$_[0]{dir}/held" }

sub release { unlink "$_[0]{dir}/hold", "$_[0]{dir}/held" }


sub serve {
    my ($self, $listen) = @_;

    my $select = IO::Select->new($listen);
    my (%peer, %client, %waits, %held);

    while (1) {
        for my $to (-e "$self->{dir}/hold" ? () : keys %held) {
            my ($out, $data) = @{ delete $held{$to} };
            syswrite $out, $data;
            close $out unless $peer{$out};
        }

        for my $fh ($select->can_read(%held ? 0.1 : 1)) {

            if ($fh == $listen) {
                my $in = $listen->accept or next;
                my $out = IO::Socket::UNIX->new(
                    Peer => "$self->{t}{dir}/$self->{name}");
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
                close $other unless $held{$other};
                next;
            }

            if ($client{$fh} && open my $lose, '<', "$self->{dir}/lose") {
                my $text = <$lose>;
                $waits{$other} = 1 if index($data, $text) >= 0;
            }

            if ($client{$fh} && ($held{$other} || $self->holds($data))) {
                $held{$other} //= [ $other, '' ];
                $held{$other}[1] .= $data;
                next;
            }

            while (length $data) {
                my $sent = syswrite $other, $data or last;
                substr($data, 0, $sent) = '';
            }
        }
    }
}


sub holds {
    my ($self, $data) = @_;

    return 0 if $self->held || !open my $hold, '<', "$self->{dir}/hold";

    my $pattern = do { local $/; <$hold> };

    return 0 unless $data =~ /$pattern/s;

    open my $held, '>', "$self->{dir}/held" or die "$!\n";

    return 1;
}


1;
