
# A flood of well-formed keys that do not exist, from the address of those
# that do: it evicts none of them and locks none out.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use Compress::Zlib qw(crc32);
use IO::Socket::INET;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');

my @known = map { key_new($t) } 1 .. 30;
my @cold = map { key_new($t) } 1 .. 15;

edge($t, workers => 1, http => 'keepalive_requests 1000000;
                                usher_auth_failures off;');
$t->wait_for(sub { status($t, $_) == 200 }, 'a known key') for @known;


my @digits = (0 .. 9, 'A' .. 'Z', 'a' .. 'z');

sub unknown {
    my $key = join '', 'usher_live_', map { $digits[rand 62] } 1 .. 30;
    my ($crc, $sum) = (crc32($key), '');

    for (1 .. 6) {
        $sum = $digits[$crc % 62] . $sum;
        $crc = int($crc / 62);
    }

    return $key . $sum;
}


# Sends n requests on one connection; their statuses, counted.

sub flood {
    my ($n) = @_;

    my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('edge1'))
        or die "connect: $!";
    my %seen;

    for my $i (1 .. $n) {
        printf $c "HEAD /file HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\n\r\n",
               unknown();
        while (my $line = <$c>) {
            $seen{$1}++ if $line =~ m{^HTTP/1.1 (\d+)};
            last if $line eq "\r\n";
        }
    }

    return \%seen;
}


# How many times Redis was asked by MGET.

sub mgets {
    return ($t->redis_cli('info commandstats') =~ /_mget:calls=(\d+)/)[0];
}


is_deeply(flood(3), { 401 => 3 }, 'unknown keys, in peace');

my $before = mgets();
my @flooders = map {
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        srand($$);
        flood(5000);
        kill 'KILL', $$;
    }
    $pid;
} 1 .. 8;

# 8 connections ask for far more than 100 keys a second

my (@first, @bad);

for my $key (@cold) {
    push @first, status($t, $key);
    $t->wait_for(sub { status($t, $key) == 200 }, 'a good key gets in');
}

for (1 .. 5) {
    push @bad, grep { $_ != 200 } map { status($t, $_) } @known;
}

is("@bad", '', 'known keys are admitted all the time');
is((grep { $_ == 429 } @first), 0, 'nor is a good one refused at first');
note "good keys not asked for before, first answers: @first";

waitpid $_, 0 for @flooders;

my $asked = mgets() - $before;
cmp_ok($asked, '<', 20000, 'beyond the budget it is asked in bulk');
note "$asked commands for 40,000 unknown keys";

# the flood has evicted nobody: no Redis is needed

$t->signal('redis', 'STOP');
is((grep { status($t, $_) != 200 } @known, @cold), 0,
   'all of them are still known');
$t->signal('redis', 'CONT');

done_testing();
