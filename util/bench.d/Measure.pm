package Measure;

# The parts of util/bench.

use v5.36;
use utf8;

use JSON::PP qw(decode_json);
use IO::Socket::INET;
use IPC::Open2;
use List::Util qw(max shuffle sum);
use POSIX qw(ceil strftime);
use Time::HiRes qw(sleep time);

use Contest;
use Feed;
use Probe;
use Usher::Test::Process qw(spawn);
use Usher::World;
use Ushers;

our $WARM = 4;     # pieces before those that count

my @CPU = (
    [ plain => 'plain nginx' ],
    [ beside => 'plain nginx, while as many rows are stored beside it' ],
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
    $self->aside;

    my $t = $self->{t} = Usher::World->new;

    $self->{sent} = {};
    $self->{load} = $t->dir . '/bin/load';
    system(qw(cc -std=gnu11 -O2 -Wall -Wextra -o), $self->{load},
        "$self->{here}/load.c") == 0 or die "cannot build load.c\n";

    return $t;
}


sub load_command ($self, $server, %opt) {
    my @headers = map { ('-H', $_) } @Contest::HEADERS,
        $opt{key} ? "X-API-Key: $opt{key}" : ();

    return ($self->{load}, '-c', $opt{connections} // 16,
        '-n', $opt{requests} // $self->{requests},
        $opt{keys} ? ('-k', $opt{keys}) : (),
        $opt{urls} ? ('-u', $opt{urls}) : (),
        $opt{addresses} ? '-a' : (),
        $opt{in_order} ? '-o' : (),
        $opt{polls} ? '-p' : (),
        $opt{lines} ? '-l' : (),
        $opt{rate} ? ('-r', $opt{rate}) : (),
        '-s', int rand 1e9, @headers, $server->{port},
        $opt{path} // $Contest::PATH);
}


sub load ($self, $server, %opt) {
    open my $pipe, '-|', $self->load_command($server, %opt)
        or die "load: $!\n";
    my $line = <$pipe> // '';
    close $pipe or die "load failed on $server->{name}\n";

    return $self->result($server, $line, %opt);
}


sub result ($self, $server, $line, %opt) {
    my $result = decode_json($line // die "load failed on $server->{name}\n");

    $self->{sent}{ $server->{name} } += $result->{requests};

    my $status = $opt{status} // 200;

    if (!$opt{any}
        && ($result->{status}{$status} // 0) != $result->{requests})
    {
        die "$server->{name} did not answer $status only: $line\n";
    }

    return $result;
}


# A turn of one contestant: pieces of load one upon the other, as of a worker
# that is busy all the time: it ships and syncs meanwhile, and has done so when
# the first piece begins.  [microseconds of CPU per request, the slower of the
# probes before and after] of each piece.

sub turn ($self, $contest, $server, %load) {
    my $probe = $self->{probe};
    my $feed = $server->{feed} && $server->{feed}->start($server->{seconds});
    my $pid = open2(my $from, my $to, $self->load_command($server, %load,
        lines => 1));
    my $start = time;
    my $before = 0;
    my $cpu;
    my @pieces;

    $to->autoflush(1);

    for my $piece (-$WARM .. $self->{pieces} - 1) {

        if ($piece == 0) {
            $probe->await_quiet(2);
            $before = $probe->ms;
        }

        $cpu = $contest->cpu($server->{worker});
        print $to "\n";
        $self->result($server, scalar <$from>, %load);
        $cpu = $contest->cpu($server->{worker}) - $cpu;

        next if $piece < 0;

        my $after = $probe->ms;

        push @pieces, [ $cpu / $self->{requests}, max($before, $after) ];
        $before = $after;
    }

    close $to;
    waitpid $pid, 0;
    $server->{seconds} = time - $start;
    waitpid($feed, 0) == $feed && $? == 0 or die "Redis refused rows\n"
        if $feed;

    return @pieces;
}


# All turns, in random order.  After each there is a pause, in which its last
# rows are stored, so that no other has them beside it.  If anew, all are
# started again for each round: where a process and its pages come to lie is a
# difference of its own.  To each piece its start is added.  opt: name => what
# load() is to be given.

sub rounds ($self, $contest, $servers, $anew, %opt) {
    my %pieces;
    my $start = 0;

    $self->{probe} = Probe->new($self->{here}, $self->{t}{dir});

    for my $round (0 .. $self->{rounds} - 1) {
        if ($anew && $round) {
            $self->anew($servers, %opt);
            $start++;
        }

        for my $name (shuffle keys %$servers) {
            push @{ $pieces{$name} }, map { [ @$_, $start ] }
                $self->turn($contest, $servers->{$name}, %{ $opt{$name} });
            sleep 0.2;
        }
    }

    $self->{probe}->stop;

    return \%pieces;
}


sub anew ($self, $servers, %opt) {
    my $t = $self->{t};

    for my $server (values %$servers) {
        my $name = $server->{name};

        $t->stop($name);
        $t->start($name);
        ($server->{worker}) = $t->workers($name);
        $t->await("$name to know its key", sub {
            $self->load($server, %{ $opt{$name} }, requests => 16, any => 1)
                ->{status}{ $opt{$name}{status} // 200 };
        });
    }
}


# Of the pieces of a contestant: all, and those with the CPU to themselves.
# Where the host took the CPU away in a piece it counts as time of the process:
# such pieces, half as dear again as the median, are left out of the mean.

sub figures ($self, $pieces) {
    my $limit = $self->{probe}->limit;
    my @all = map { $_->[0] } @$pieces;
    my @quiet = map { $_->[0] } grep { $_->[1] <= $limit } @$pieces;

    die "nothing was measured undisturbed: another machine, or more rounds\n"
        if @quiet < 10;

    my $limit_us = 1.5 * median(@quiet);
    my %of_start;

    for my $piece (@$pieces) {
        my ($us, $probe, $start) = @$piece;

        push @{ $of_start{$start} }, $us
            if $probe <= $limit && $us < $limit_us;
    }

    return { all => \@all, quiet => [ map { @$_ } values %of_start ],
        starts => [ values %of_start ] };
}


# Microseconds of CPU in a second in which nobody asks.

sub idle ($self, $contest, $servers) {
    my %idle = map { $_ => $contest->cpu($servers->{$_}{worker}) }
        keys %$servers;
    my $start = time;

    sleep 3;
    $_ = -$_ for values %idle;
    $idle{$_} += $contest->cpu($servers->{$_}{worker}) for keys %idle;
    $_ /= time - $start for values %idle;

    return \%idle;
}


# Workers have the first CPU to themselves (Contest gives it to them): this
# program and what it starts use the others.

sub aside ($self) {
    chomp(my $cpus = `nproc`);

    return if $cpus < 2;

    my @command = ('taskset', '-p', '-c', '1-' . ($cpus - 1), $$);

    `@command`;
    die "@command failed\n" if $?;
}


sub median (@values) {
    my @sorted = sort { $a <=> $b } @values;
    my $n = @sorted;

    return ($sorted[($n - 1) / 2] + $sorted[$n / 2]) / 2;
}


sub mean (@values) {
    return sum(@values) / @values;
}


# The square of the standard error of the mean of pieces.  Those of one start
# have its luck in common, so starts are what is counted (cluster-robust
# variance: Cameron and Miller, A Practitioner's Guide to Cluster-Robust
# Inference, 2015).

sub doubt (@starts) {
    my @pieces = map { @$_ } @starts;
    my $mean = mean(@pieces);
    my $n = @starts;

    return $n / ($n - 1) / @pieces ** 2
        * sum(map { (sum(@$_) - @$_ * $mean) ** 2 } @starts);
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
    my (%server, $usher);

    if ($ours) {
        $usher = Ushers->new(t => $t, contest => $contest);
        $contest->{key} = $usher->key;

    } else {
        $contest->{key} = Ushers->made_up_key;
    }

    for my $name (map { $_->[0] } @names) {
        $server{$name} = $name =~ /^usher/ ? $usher->$name : $contest->$name;
        $self->load($server{$name}, key => $contest->{key});
    }

    if ($server{beside}) {
        my $requests = $self->{requests} * ($self->{pieces} + $WARM);

        $server{beside}{feed} = Feed->new($t, requests => $requests,
            rounds => $self->{rounds});
        $server{beside}{seconds} = 0.5;
        $self->{sent}{usher_journal} += $self->{rounds} * $requests;
    }

    my $idle = $self->idle($contest, \%server);
    my $pieces = $self->rounds($contest, \%server, 1,
        map { $_ => { key => $contest->{key}, polls => 1 } } keys %server);

    $usher->settled($self->{sent}{usher_journal}) if $server{usher_journal};
    $self->cpu_table(\@names, $pieces, $idle);
    $t->stop_all;
}


# What comes in few pieces, as a sync does, is in their mean, not in their
# median: differences are those of means.

sub cpu_table ($self, $names, $pieces, $idle) {
    my %of = map { $_ => $self->figures($pieces->{$_}) } keys %$pieces;
    my $plain = $of{plain} // die "plain must be among the names\n";

    $self->heading('CPU time of the worker per request');
    printf "%s. 1 KB file, keep-alive, one worker with a CPU of its own;\n"
        . "%d rounds, alternating, of %d pieces of %d requests each. First the "
        . "pieces in\nwhich nobody else was on the CPU's core, then all.\n\n",
        $self->machine, $self->{rounds}, $self->{pieces}, $self->{requests};
    print "| | us | middle half | over plain, us | ratio | pieces "
        . "| all, us | middle half | idle, us/s |\n"
        . "|---|---:|---:|---:|---:|---:|---:|---:|---:|\n";

    for my $row (@$names) {
        my ($name, $text) = @$row;
        my ($quiet, $all) = @{ $of{$name} }{qw(quiet all)};

        printf "| %s | %.2f | %.2f to %.2f | %s | %.2f | %d | %.2f "
            . "| %.2f to %.2f | %.0f |\n", $text, median(@$quiet),
            spread(@$quiet), $name eq 'plain' ? ''
                : difference($of{$name}, $plain),
            mean(@$quiet) / mean(@{ $plain->{quiet} }), scalar(@$quiet),
            median(@$all), spread(@$all), $idle->{$name};
    }

    print "\n";
    $self->cpu_beside($of{beside}, $of{usher_journal})
        if $of{beside} && $of{usher_journal};
}


# With the standard error of the difference, if one start can be told from
# another.

sub difference ($one, $two) {
    my ($least) = sort { $a <=> $b } map { scalar @{ $_->{starts} } }
        $one, $two;

    return sprintf '%+.2f', mean(@{ $one->{quiet} }) - mean(@{ $two->{quiet} })
        if $least < 2;

    return sprintf '%+.2f ± %.2f',
        mean(@{ $one->{quiet} }) - mean(@{ $two->{quiet} }),
        sqrt(doubt(@{ $one->{starts} }) + doubt(@{ $two->{starts} }));
}


# The same, against the plain nginx that had the same neighbours.

sub cpu_beside ($self, $beside, $journal) {
    printf "Auth, limit and journal over the plain nginx that has as many rows "
        . "stored beside\nit: %s us.\n\n",
        difference($journal, $beside);
}


# ---- keys: does the cost grow with their number? ----


sub keys ($self) {
    my $t = $self->world;
    my $contest = Contest->new(t => $t, here => $self->{here});
    my $usher = Ushers->new(t => $t, contest => $contest);
    my @sizes = (1000, $self->{keys} // 1_000_000);
    my $zone = '8m';
    my (%server, $first);

    for my $n (@sizes) {
        $usher->many_keys($n, "$t->{dir}/keys$n.txt");
        $server{$n} = $usher->usher_limit(name => "keys$n", zone => $zone);
        $self->warm($t, $server{$n}, $n);
        $zone = $self->zone_for($t, $server{$n}, $sizes[1]);
    }

    my $pieces = $self->rounds($contest, \%server, 0,
        map { $_ => { keys => "$t->{dir}/keys$_.txt", polls => 1 } } @sizes);

    $self->heading('CPU time per request by number of keys');
    print "auth + limit, every request with a random key of those cached.\n\n",
        "| keys | us | middle half | ratio | cached | bytes of cells per key |"
        . "\n|---:|---:|---:|---:|---:|---:|\n";

    for my $n (@sizes) {
        my @own = @{ $self->figures($pieces->{$n})->{quiet} };

        $first //= mean(@own);
        printf "| %d | %.2f | %.2f to %.2f | %.2f | %s |\n", $n,
            median(@own), spread(@own), mean(@own) / $first,
            $self->bytes_per_key($t, $server{$n});
    }

    print "\n";
    $t->stop_all;
}


# Every key once, so that the zone knows them all.  Beyond its budget of
# misses the directory asks in bulk, so many connections have to wait at once.

sub warm ($self, $t, $server, $n) {
    for (1 .. 20) {
        my $result = $self->load($server, keys => "$t->{dir}/keys$n.txt",
            in_order => 1, requests => $n, connections => 512, any => 1);

        return if ($result->{status}{200} // 0) == $n;
    }

    die "$server->{name}: not all keys became known\n";
}


# A zone whose cells for keys are 80 % full with n of them.

sub zone_for ($self, $t, $server, $n) {
    my $zone = $t->on($server->{name})->get('/usher/status')->json->{zone};
    my $bytes = $zone->{keys}{bytes} / $zone->{keys}{cells} * $n / 0.8;

    return ceil($bytes * $zone->{bytes} / $zone->{keys}{bytes} / 1024) . 'k';
}


# What the cells of cached keys take, plan buckets included.

sub bytes_per_key ($self, $t, $server) {
    my $keys = $t->on($server->{name})->get('/usher/status')->json
        ->{zone}{keys};

    return sprintf '%d | %.0f', $keys->{used}, $keys->{bytes} / $keys->{used};
}


# ---- flush ----


sub flush ($self) {
    my $program = "$self->{here}/../bench_flush";

    $self->heading('Flush against `\copy`');
    system($program) == 0 or die "$program failed\n";
    print "\n";
}


# ---- revoke: from COMMIT to the first 401 ----


sub revoke ($self) {
    my $t = $self->world;
    my $contest = Contest->new(t => $t, here => $self->{here});
    my $usher = Ushers->new(t => $t, contest => $contest);
    my $server = $usher->usher_journal;
    my $n = $self->{events} // 200;
    my $rate = 2000;
    my @ms;

    my $pid = spawn(out => "$t->{dir}/load.log", dir => $t->{dir}, cmd => [
        $self->load_command($server, key => $usher->key, rate => $rate,
            requests => 1e7) ]);

    for (1 .. $n) {
        push @ms, 1000 * $self->revocation($t, $usher, $server);
    }

    kill 'TERM', $pid;
    waitpid $pid, 0;

    $self->heading('From COMMIT of a revocation to the first 401');
    printf "%d keys, one after the other, on an edge that answers %d other "
        . "requests per second.\n\n", $n, $rate;
    print "| p50, ms | p90 | p99 | max |\n|---:|---:|---:|---:|\n";
    @ms = sort { $a <=> $b } @ms;
    printf "| %.1f | %.1f | %.1f | %.1f |\n\n",
        map { $ms[ceil($_ * @ms) - 1] } 0.5, 0.9, 0.99, 1;
    $t->stop_all;
}


sub revocation ($self, $t, $usher, $server) {
    my $key = $usher->new_key;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1',
        PeerPort => $server->{port}) or die "connect: $!\n";

    $socket->autoflush(1);
    $t->await('the key', sub { status($socket, $key) == 200 });
    $t->sql('select api.key_revoke(key => ?)', $key);

    my $committed = time;

    while (status($socket, $key) == 200) {
        die "a revoked key is still admitted after 10 s\n"
            if time > $committed + 10;
    }

    return time - $committed;
}


# One keep-alive request.

sub status ($socket, $key) {
    my $text = '';

    print $socket "GET $Contest::PATH HTTP/1.1\r\nHost: localhost\r\n"
        . "X-API-Key: $key\r\n\r\n";

    while ($text !~ /\r\n\r\n/) {
        sysread($socket, $text, 16384, length $text)
            or die "connection lost\n";
    }

    my ($head, $body) = split /\r\n\r\n/, $text, 2;
    my ($length) = $head =~ /^Content-Length: (\d+)/mi;

    while (length $body < ($length // die "no length: $head\n")) {
        sysread($socket, $body, 16384, length $body)
            or die "connection lost\n";
    }

    return $head =~ m{^HTTP/1.1 (\d+)} ? $1 : 0;
}


# ---- hang: what known keys feel of a Redis that does not answer ----


sub hang ($self) {
    my $t = $self->world;
    my $contest = Contest->new(t => $t, here => $self->{here});
    my $usher = Ushers->new(t => $t, contest => $contest);
    my $server = $usher->usher_journal;
    my %load = (key => $usher->key, rate => 2000, requests => 6000,
        connections => 32);
    my %us;

    for my $round (1 .. 3) {
        push @{ $us{answers} }, $self->load($server, %load)->{us};

        $t->signal('redis', 'STOP');
        push @{ $us{hangs} }, $self->load($server, %load)->{us};
        $t->signal('redis', 'CONT');
        $t->await('Redis', sub { $t->redis_cli('ping') eq 'PONG' });

        $t->stop('redis');
        push @{ $us{'is down'} }, $self->load($server, %load)->{us};
        $t->start('redis');
        sleep 1;
    }

    $usher->settled($self->{sent}{usher_journal});
    $self->heading('Latency of known keys, whatever Redis does');
    printf "%d requests per second, latency from the moment a request was "
        . "due;\nmedian of 3 alternating rounds of %d requests.\n\n",
        $load{rate}, $load{requests};
    print "| Redis | p50, us | p90 | p99 | p99.9 |\n",
        "|---|---:|---:|---:|---:|\n";

    for my $state ('answers', 'hangs', 'is down') {
        printf "| %s | %s |\n", $state, join ' | ', map {
            my $p = $_;
            median(map { $_->{$p} } @{ $us{$state} });
        } qw(p50 p90 p99 p999);
    }

    print "\n";
    $t->stop_all;
}


1;
