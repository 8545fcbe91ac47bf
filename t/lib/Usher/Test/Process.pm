package Usher::Test::Process;

# Processes of a test: started as an unprivileged user, adopted when their
# parent is killed, and all gone at the end.  Nothing else is ever touched:
# only children of this process are signalled, and a child's pid cannot be
# reused before it was waited for.

use strict;
use warnings;

use Exporter 'import';
use POSIX qw(:sys_wait_h setuid setgid);
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(
    alive become_reaper children command_of end_children owner run_as
    sleep_until spawn stop_process
);

use constant PR_SET_PDEATHSIG       => 1;
use constant PR_SET_CHILD_SUBREAPER => 36;


# uid and gid servers run as: our own, or nobody's for root.

sub owner {
    return ($<, $( + 0) if $<;

    my $name = $ENV{USHER_USER} // 'nobody';
    my ($uid, $gid) = (getpwnam $name)[2, 3];

    die "no user $name\n" unless $uid;

    return ($uid, $gid);
}


# Orphaned workers and duties become ours instead of init's.

sub become_reaper {
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}


sub prctl {
    my ($what, $value) = @_;

    my $machine = (POSIX::uname())[4];
    my $number = { x86_64 => 157, aarch64 => 167 }->{$machine} or return;

    syscall($number, $what, $value, 0, 0, 0);
}


sub run_as {
    my ($uid, $gid) = @_;

    return if $< == $uid;

    $) = "$gid $gid";
    setgid($gid) or die "setgid: $!\n";
    setuid($uid) or die "setuid: $!\n";
}


# spawn(cmd => [...], out => file, env => {...}, dir => dir, dies_by => signal)

sub spawn {
    my %opt = @_;

    my ($uid, $gid) = owner();
    my $pid = fork() // die "fork: $!\n";

    return $pid if $pid;

    eval {
        chdir($opt{dir}) or die "chdir $opt{dir}: $!\n" if $opt{dir};

        run_as($uid, $gid) unless $opt{as_root};

        open STDIN, '<', '/dev/null' or die "/dev/null: $!\n";
        open STDOUT, '>>', $opt{out} or die "$opt{out}: $!\n";
        open STDERR, '>&', \*STDOUT or die "stderr: $!\n";

        # should the test be killed, its servers follow

        prctl(PR_SET_PDEATHSIG, $opt{dies_by} // 15);

        $ENV{$_} = $opt{env}{$_} for keys %{ $opt{env} || {} };
        delete @ENV{qw(HARNESS_ACTIVE HARNESS_VERSION PERL5LIB)};

        exec { $opt{cmd}[0] } @{ $opt{cmd} };
        die "$opt{cmd}[0]: $!\n";
    };

    print STDERR "cannot start: $@";
    POSIX::_exit(127);
}


# A zombie is dead, unless it has threads left: a worker's threads may be in a
# system call yet, and until then its files and ports are open.

sub alive {
    my ($pid) = @_;

    return 0 unless $pid;

    waitpid($pid, WNOHANG);

    open my $fh, '<', "/proc/$pid/stat" or return 0;
    my $stat = <$fh> // return 0;

    return $stat !~ /\) [ZX] / || $stat =~ /\) Z (?:\S+ ){16}([2-9]|\d\d)/;
}


sub children {
    my ($pid) = @_;

    my @found;

    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $fh, '<', $stat or next;
        my $line = <$fh> // next;
        push @found, $1 if $line =~ /^(\d+) \(.*\) \S (\d+)/ && $2 == $pid;
    }

    return sort { $a <=> $b } @found;
}


sub command_of {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/cmdline" or return '';
    local $/;
    my $line = <$fh> // '';
    $line =~ tr/\0/ /;

    return $line;
}


# Sends a signal and waits; kills what has not gone in time.

sub stop_process {
    my ($pid, $signal, $seconds) = @_;

    return unless alive($pid);

    kill $signal, $pid;
    sleep_until(sub { !alive($pid) }, $seconds // 10) and return;

    kill 'CONT', $pid;
    kill 'KILL', $pid;
    waitpid($pid, 0);
}


sub end_children {
    for (1 .. 100) {
        my @left = children($$) or return;

        kill 'KILL', @left;
        kill 'CONT', @left;
        waitpid($_, 0) for @left;
    }
}


sub sleep_until {
    my ($check, $seconds) = @_;

    my $end = time + $seconds;

    for ( ;; ) {
        my $value = $check->();
        return $value if $value;
        return $value if time > $end;
        sleep 0.02;
    }
}


1;
