# A worker that was killed inside a set leaves it locked.  Here its last word
# is written into the zone through /proc, for every set of free buckets: by a
# dead owner, and by a process that has the pid of one.

use lib 't/lib';
use Usher::Test;
no warnings 'portable';            # hex of addresses

my $t = Usher::Test->new;

my $conf = <<'EOF';
    usher_zone 2m;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /status { usher_status; }
        location / {
            usher_limit each rate=1r/m burst=3 key=$arg_who;
        }
    }
EOF

$t->nginx($conf);
$t->wait_for(sub { $t->workers == 1 }, 'a worker', 10);

my ($worker) = $t->workers;

sub taken {
    my ($who) = @_;

    return scalar grep { $t->get("/?who=$who")->status != 429 } 1 .. 10;
}

sub counter { $t->get('/status')->json->{counters}{$_[0]} }

# The zone in the worker's memory: [address of the head, its bytes].

sub head {
    my ($mem) = @_;

    open(my $maps, '<', "/proc/$worker/maps") or return;

    while (<$maps>) {
        my ($from, $to) = /^(\w+)-(\w+) rw-s .*zero/ or next;

        for (my $at = hex($from); $at < hex($to) && $at < hex($from) + 2 ** 20;
             $at += 4096)
        {
            sysseek($mem, $at, 0);
            sysread($mem, my $bytes, 128);
            return ($at, $bytes) if substr($bytes, 0, 8) eq 'UHSRZONE';
        }
    }

    return;
}

# Locks all sets of free buckets in the name of pid.

sub lock_buckets {
    my ($pid) = @_;

    open(my $mem, '+<', "/proc/$worker/mem") or return;

    my ($at, $bytes) = head($mem) or return;
    my $buckets = unpack('Q', substr($bytes, 88, 8));
    my $n = unpack('L', substr($bytes, 116, 4));

    for my $i (0 .. $n - 1) {
        my $where = $at + $buckets + $i * 448;

        sysseek($mem, $where, 0);
        sysread($mem, my $word, 8);
        sysseek($mem, $where, 0);
        syswrite($mem, pack('LL', unpack('L', $word) + 1, $pid));
    }

    return $n;
}

is(taken('a'), 3, 'a bucket of three');
is(taken('a'), 0, 'is empty then');
is(counter('zone_recovered'), 0, 'nothing was recovered yet');

my $dead = fork();

exit(0) if $dead == 0;
waitpid($dead, 0);

SKIP: {
    my $n = lock_buckets($dead);

    skip('/proc/<pid>/mem cannot be written', 8) unless $n;

    cmp_ok($n, '>', 100, 'all sets are locked by a dead process');
    is(taken('a'), 3, 'the set is cleared, and limits go on');
    is(taken('a'), 0, 'as before');

    my $recovered = counter('zone_recovered');

    cmp_ok($recovered, '>=', 1, 'which is counted');
    cmp_ok($recovered, '<=', 2, 'for the sets that were needed');

    # our own pid: alive, but no worker

    lock_buckets($$);
    is(taken('a'), 3, 'a stranger with the pid of the dead holds no lock');
    is(taken('a'), 0, 'limits go on');
    cmp_ok(counter('zone_recovered'), '>', $recovered, 'which is counted too');
}

is(join(' ', $t->workers), $worker, 'it is still the same worker');

# another worker, which lives, and may come back to what it has locked

$t->nginx_conf($conf, workers => 2);
$t->reload;
$t->wait_for(sub { $t->workers == 2 }, 'two workers');
($worker, my $other) = $t->workers;
is(counter('zone_locked'), 0, 'nothing was given up yet');

SKIP: {
    kill 'STOP', $other;

    my $n = lock_buckets($other);

    skip('/proc/<pid>/mem cannot be written', 2) unless $n;

    is(taken('a'), 10, 'the set of a live owner is left to it');
    cmp_ok(counter('zone_locked'), '>', 0, 'which is counted');
}

kill 'CONT', $other;

done_testing();
