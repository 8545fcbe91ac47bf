
# Records that cannot be read, and Redis servers that cannot be trusted: the
# answer is 503, never "unknown key", and usherd mends what it can.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use Digest::SHA qw(sha256_hex);


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
my ($key, $known, $other) = map { key_new($t) } 1 .. 3;
my $id = 'key:' . $t->sql("select encode(digest, 'hex') from usher.key
                           where id = ?", $key->{id});
$t->wait_for(sub { record_is($t, $id, 'state', 'active') }, 'a record');
my $good = $t->redis_cli('get', "usher:d:$id");

edge($t);
$t->wait_for(sub { status($t, $known) == 200 }, 'admitted');

# each way of being corrupt, while nobody mends

my $long = 'x' x 600;
my %corrupt = (
    'not JSON' => 'nonsense',
    'empty' => '',
    'cut' => substr($good, 0, -1),
    'an array' => '[]',
    'no version' => $good =~ s/"v":\d+,//r,
    'an id that is text' => $good =~ s/"id": (\d+)/"id": "$1"/r,
    'a negative id' => $good =~ s/"id": /"id": -/r,
    'an unknown state' => $good =~ s/"active"/"sleepy"/r,
    'no exp' => $good =~ s/"exp": null, //r,
    'a scope too long' => $good =~ s/"scope": ""/"scope": "$long"/r,
    'an org too long' => $good =~ s/"acme"/"$long"/r,
    'a control character' => $good =~ s/"acme"/"a\\u0007"/r,
    'twice the same name' => $good =~ s/\}$/, "id": 1}/r,
    'much too long' => $good . ' ' x 9000,
);

$t->signal('directory', 'STOP');

for my $how (sort keys %corrupt) {
    isnt($corrupt{$how}, $good, "$how differs");
    $t->redis_cli('set', "usher:d:$id", $corrupt{$how});
    is(status($t, $key), 503, $how);
}

is(() = $t->error_log =~ /cannot be read/g, 1, 'said once');
is($t->redis_cli('smembers usher:d:bad'), $id, 'usherd is told');

$t->redis_cli('set', "usher:d:$id",
              $good =~ s/"l":"\w+"/"l":"0123456789abcdef"/r);
is(status($t, $key), 503, 'of another lineage');

$t->signal('directory', 'CONT');
$t->wait_for(sub { status($t, $key) == 200 }, 'usherd wrote it again');
like($t->error_log, qr/\Q$id\E of the directory can be read again/, 'said');

# one that goes before it was mended does not keep others out of the log

$t->signal('directory', 'STOP');
my @broken = map { key_new($t) } 1 .. 2;

for my $broken (@broken) {
    my $name = 'key:' . sha256_hex($broken->{key});

    $t->redis_cli('set', "usher:d:$name", 'nonsense');
    is(status($t, $broken), 503, 'corrupt');
    like($t->error_log, qr/record $name of the directory cannot be read/,
         'said');
    $t->redis_cli('del', "usher:d:$name");
    is(status($t, $broken), 401, 'gone');
}

$t->signal('directory', 'CONT');

# without ready nothing is known to be absent

$t->signal('directory', 'STOP');
my $lineage = lineage($t);
my $wiped = 'key:' . $t->sql("select encode(digest, 'hex') from usher.key
                              where id = ?", $other->{id});
my $record = $t->redis_cli('get', "usher:d:$wiped");
$t->redis_cli('del usher:d:ready');
is(status($t, $other), 503, 'not ready: cannot know');
$t->redis_cli('del', "usher:d:$wiped");
is(status($t, $other), 503, 'nor that a record does not exist');
$t->redis_cli('set', "usher:d:$wiped", $record);
is(status($t, $known), 200, 'what is known serves');
$t->redis_cli('set', 'usher:d:ready', $lineage);
is(status($t, $other), 200, 'ready: can');
$t->signal('directory', 'CONT');

# a Redis that may evict

$t->expect_alerts(qr/may evict records|exited on signal 9/);
my $fresh = key_new($t);
$t->redis_cli('config set maxmemory-policy allkeys-lru');
$t->wait_for(sub { $t->error_log =~ /its Redis may evict records/ },
             'an evicting policy is seen');
is(status($t, $fresh), 503, 'the unknown is not known');
is(status($t, $known), 200, 'the known serves');
$t->redis_cli('config set maxmemory-policy volatile-lru');
$t->wait_for(sub { status($t, $fresh) == 200 }, 'records have no expiry');
is(() = $t->error_log =~ /may evict records/g, 1, 'said once');

done_testing();
