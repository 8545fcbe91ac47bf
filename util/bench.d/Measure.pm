package Measure;

# The parts of util/bench.

use v5.36;

use JSON::PP qw(decode_json);
use List::Util qw(min max shuffle sum);
use POSIX qw(strftime);
use Time::HiRes qw(sleep time);

use Contest;
use Usher::Test;
use Ushers;

my @CPU = (
    [ plain => 'plain nginx' ],
    [ access_log => 'plain nginx with its access log' ],
    [ limit_req => 'nginx `limit_req`' ],
    [ usher_auth => 'usher: auth' ],
    [ usher_limit => 'usher: auth + limit' ],
    [ usher_journal => 'usher: auth + limit + journal, shipped and flushed' ],
    [ lua_shared => 'the same in Lua, shared dicts' ],
    [ auth_request => '`auth_request`, without the service\'s own time' ],
    [ lua_redis => 'the same in Lua, Redis GET and INCR' ],
);


sub new ($class, %opt) {
    return bless { %opt }, $class;
}


# Servers of one part, and the load generator.

sub world ($self) {
    my $t = Usher::Test->new;

    $self->{load} = $t->dir . '/bin/load';
    system(qw(cc -std=gnu11 -O2 -Wall -Wextra -o), $self->{load},
        "$self->{here}/load.c") == 0 or die "cannot build load.c\n";

    return $t;
}


# A key of the right form, for a bench without Usher among the contestants.

sub made_up_key ($self) {
    my @digits = (0 .. 9, 'A' .. 'Z', 'a' .. 'z');
    my $key = 'us_live_' . join '', map { $digits[rand 62] } 1 .. 30;
    my $crc = 0xffffffff;

    for my $byte (unpack 'C*', $key) {
        $crc ^= $byte;
        $crc = $crc & 1 ? ($crc >> 1) ^ 0xedb88320 : $crc >> 1 for 1 .. 8;
    }
    $crc ^= 0xffffffff;

    my $sum = '';
    for (1 .. 6) {
        $sum = $digits[$crc % 62] . $sum;
        $crc = int($crc / 62);
    }

    return $key . $sum;
}


sub load ($self, $server, %opt) {
    my @headers = map { ('-H', $_) } @Contest::HEADERS,
        $opt{key} ? "X-API-Key: $opt{key}" : ();
    my @command = ($self->{load}, '-c', $opt{connections} // 16,
        '-n', $opt{requests} // $self->{requests},
        $opt{keys} ? ('-k', $opt{keys}) : (),
        $opt{rate} ? ('-r', $opt{rate}) : (),
        '-s', int rand 1e9, @headers, $server->{port}, $Contest::PATH);

    open my $pipe, '-|', @command or die "load: $!\n";
    my $line = <$pipe> // '';
    close $pipe or die "load failed on $server->{name}\n";

    my $result = decode_json($line);

    if (!$opt{any} && ($result->{status}{200} // 0) != $result->{requests}) {
        die "$server->{name} did not answer 200 only: $line\n";
    }

    return $result;
}


# One round of one contestant: microseconds of CPU per request.  The pause
# lets what a request left behind (a ship tick, a sync) be counted too.

sub round ($self, $contest, $server, %opt) {
    my $before = $contest->cpu($server->{worker});
    my $result = $self->load($server, %opt);

    sleep 0.05;

    return ($contest->cpu($server->{worker}) - $before) / $result->{requests};
}


sub median (@values) {
    my @sorted = sort { $a <=> $b } @values;
    my $n = @sorted;

    return ($sorted[($n - 1) / 2] + $sorted[$n / 2]) / 2;
}


# The middle half of the values.

sub spread (@values) {
    my @sorted = sort { $a <=> $b } @values;
    my $n = @sorted;

    return ($sorted[int(($n - 1) / 4)], $sorted[int(($n - 1) * 3 / 4 + 0.5)]);
}


sub heading ($self, $title) {
    printf "### %s\n\n", $title;
}


sub machine ($self) {
    my ($model, $n) = ('?', 0);

    open my $f, '<', '/proc/cpuinfo' or return '';
    while (<$f>) {
        $model = $1 if /^model name\s*:\s*(.*\S)/;
        $n++ if /^processor/;
    }

    my ($nginx) = `nginx -v 2>&1` =~ m{nginx/(\S+)};

    return sprintf '%s, %d CPUs, Linux %s, nginx %s, %s', $model, $n,
        (POSIX::uname())[2], $nginx, strftime('%Y-%m-%d', gmtime);
}


sub cpu ($self) {
    my %only = map { $_ => 1 } split /,/, $self->{only} // '';
    my @names = grep { !%only || $only{ $_->[0] } } @CPU;
    my $ours = grep { $_->[0] =~ /^usher/ } @names;
    my $t = $self->world;
    my $contest = Contest->new(t => $t, here => $self->{here});
    my (%server, %us, $usher);

    if ($ours) {
        $usher = Ushers->new(t => $t, contest => $contest);
        $contest->{key} = $usher->key;

    } else {
        $contest->{key} = $self->made_up_key;
    }

    for my $name (map { $_->[0] } @names) {
        $server{$name} = $name =~ /^usher/ ? $usher->$name : $contest->$name;
        $self->load($server{$name}, key => $contest->{key});
    }

    for my $round (1 .. $self->{rounds}) {
        for my $name (shuffle keys %server) {
            push @{ $us{$name} }, $self->round($contest, $server{$name},
                key => $contest->{key});
        }
    }

    $usher->settled if $usher;
    $self->cpu_table(\@names, \%us);
    $t->stop_all;
}


# Differences are taken round by round, against the plain nginx of the same
# round: what the machine does to all of them drops out.

sub cpu_table ($self, $names, $us) {
    my @plain = @{ $us->{plain} // die "plain must be among the names\n" };

    $self->heading('CPU time of the worker per request');
    printf "%s. 1 KB file, keep-alive, one worker, %d rounds of %d requests "
        . "each,\nalternating; median and middle half of the rounds.\n\n",
        $self->machine, $self->{rounds}, $self->{requests};
    print "| | us | middle half | over plain, us | middle half | ratio |\n",
        "|---|---:|---:|---:|---:|---:|\n";

    for my $row (@$names) {
        my ($name, $text) = @$row;
        my @own = @{ $us->{$name} };
        my @over = map { $own[$_] - $plain[$_] } 0 .. $#own;
        my @ratio = map { $own[$_] / $plain[$_] } 0 .. $#own;

        printf "| %s | %.2f | %.2f to %.2f | %s | %s | %.2f |\n", $text,
            median(@own), spread(@own),
            $name eq 'plain' ? ('', '')
                : (sprintf('%+.2f', median(@over)),
                   sprintf('%+.2f to %+.2f', spread(@over))),
            median(@ratio);
    }

    print "\n";
}


1;
