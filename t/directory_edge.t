
# The edge and the directory: known keys without I/O, misses that wait and
# share, changes that beat old answers.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(sleep time);


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');

my ($key, $new, $cold, $gone) = map { key_new($t) } 1 .. 4;
my $digest = $t->sql("select encode(digest, 'hex') from usher.key
                      where id = ?", $key->{id});

$t->wait_for(sub { record_is($t, "key:$digest", 'state', 'active') },
             'a record');
edge($t, workers => 1);
$t->wait_for(sub { $t->error_log =~ /directory in Redis is whole/ },
             'the edge follows');

my $monitor = monitor($t);

# a miss is one MGET of ready and record, a hit is none

is(status($t, $key), 200, 'a miss is answered');
is(status($t, $key), 200, 'and then a hit') for 1 .. 3;
is(asked($monitor, qr/"MGET" "usher:d:ready" "usher:d:key:$digest"/i), 1,
   'one MGET for all of them');

# an unknown key makes a negative, which the next new key ends

my $digest_new = $t->sql("select encode(digest, 'hex') from usher.key
                          where id = ?", $new->{id});
my @row = $t->rows('select org_id, digest from usher.key where id = ?',
                   $new->{id});
$t->sql('delete from usher.key where id = ?', $new->{id});
$t->wait_for(sub { record_is($t, "key:$digest_new", 'gone', 1) }, 'deleted');
is(status($t, $new), 401, 'a tombstone is an unknown key');
is(status($t, $new), 401, 'still');
is(asked($monitor, qr/"MGET".*"usher:d:key:$digest_new"/), 1,
   'asked for once');
$t->sql("insert into usher.key (org_id, digest)
         values (?, decode(?, 'hex'))", $row[0][0], $digest_new);
$t->wait_for(sub { status($t, $new) == 200 }, 'a new key is known soon');

# many who want one cold record share one fetch, though Redis hangs: all of
# them are there when the worker runs, and Redis runs when the first of them
# has given up

my $digest_cold = $t->sql("select encode(digest, 'hex') from usher.key
                           where id = ?", $cold->{id});
$t->signal($_, 'STOP') for qw(redis worker);

my @clients = map {
    my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('edge1'))
        or die "connect: $!";
    print $c "GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n",
             "X-API-Key: $cold->{key}\r\n\r\n";
    $c;
} 1 .. 10;

$t->signal('worker', 'CONT');
IO::Select->new(@clients)->can_read(30);
$t->signal('redis', 'CONT');

my @answers = map { my $c = $_; local $/; <$c> =~ /^HTTP\S+ (\d+)/; $1 }
    @clients;
is((grep { $_ != 200 && $_ != 503 } @answers), 0,
   'each has an answer') or diag "@answers";
note "while Redis hung: @answers";
is(asked($monitor, qr/"MGET".*"usher:d:key:$digest_cold"/), 1,
   'of one fetch');

# a client that goes while it waits takes nothing along

$t->signal('redis', 'STOP');
for (1 .. 5) {
    my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('edge1'))
        or die "connect: $!";
    print $c "GET /file HTTP/1.1\r\nHost: a\r\nX-API-Key: $gone->{key}\r\n\r\n";
    sleep 0.005;
    close $c;
}
my ($worker) = $t->workers;
is(status($t, $key), 200, 'Redis hangs: a known key is admitted');
is(status($t, $gone), 503, 'an unknown one cannot be known');
$t->signal('redis', 'CONT');
$t->wait_for(sub { status($t, $gone) == 200 }, 'Redis is back: now it can');
is(($t->workers)[0], $worker, 'the worker lives');
cmp_ok(counter($t, 'directory_timeouts'), '>=', 1,
       'by a deadline of its own, not by that of Redis');

# a change beats what is cached

my $before = asked($monitor, qr/"MGET".*"usher:d:key:$digest"/);
$t->ctl("key update key=$key->{id} scope=read");
$t->wait_for(sub {
    status($t, $key) == 200
    && asked($monitor, qr/"MGET".*"usher:d:key:$digest"/) == $before + 1
}, 'a changed key is fetched again');

my @latency;
for my $k ($cold, $gone, map { key_new($t) } 1 .. 10) {
    $t->wait_for(sub { status($t, $k) == 200 }, 'admitted');
    $t->sql('update usher.key set revoked_at = now() where id = ?', $k->{id});
    my $since = time;
    my $status = 0;
    $status = status($t, $k) while $status != 401 && time < $since + 10;
    is($status, 401, 'revoked');
    push @latency, 1000 * (time - $since);
}
note sprintf 'COMMIT to 401, with this client: median %.1f, worst %.1f ms',
     (sort { $a <=> $b } @latency)[@latency / 2, -1];

is(ask($t, $cold)->json->{reason}, 'revoked', 'and says so');

# disabling an org is a revocation of all its keys

is(status($t, $key), 200, 'of an enabled org');
$t->ctl('org disable org=acme');
$t->wait_for(sub { ask($t, $key)->json->{reason} eq 'org_disabled' },
             'of a disabled org');
$t->ctl('org enable org=acme');
$t->wait_for(sub { status($t, $key) == 200 }, 'enabled again');

kill 'TERM', $monitor->{pid};

done_testing();
