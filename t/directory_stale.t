
# How long an edge trusts what it knows when usherd or Redis is away.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');

my ($known, $unknown) = map { key_new($t) } 1 .. 2;
my @edges = ([ 'edge1', 3 ], [ 'edge2', 0 ], [ 'edge3', 'forever' ]);

for (@edges) {
    my ($name, $stale) = @$_;
    edge($t, name => $name, http => "usher_stale key $stale;");
    $t->wait_for(sub { status($t->on($name), $known) == 200 },
                 "$name: admitted");
}


sub answers { return join ' ', map { status($t->on($_->[0]), $known) } @edges }


# no heartbeat: known keys serve until their time, then nothing is known

$t->stop('usherd');
$t->wait_for(sub { answers() eq '200 503 200' },
             'stale 0 fails closed, the others serve');
is(ask($t->on('edge2'), $known)->json->{reason}, 'unavailable', 'says so');
is(status($t->on('edge3'), $unknown), 200,
   'Redis still answers for what is not known');
$t->wait_for(sub { answers() eq '503 503 200' }, 'stale 3 s has passed');

$t->start('usherd');
$t->wait_for(sub { answers() eq '200 200 200' }, 'the heartbeat is back');

# a revocation of meanwhile

$t->stop('usherd');
$t->sql('update usher.key set revoked_at = now() where id = ?',
        $unknown->{id});
is(status($t->on('edge3'), $unknown), 200, 'usherd away: nobody heard');
$t->start('usherd');
$t->wait_for(sub { status($t->on('edge3'), $unknown) == 401 },
             'usherd is back: revoked');

# what was revoked in time is not served as stale, if Redis goes then

my $revoked = key_new($t);
my $monitor = monitor($t);
$t->wait_for(sub { status($t->on('edge3'), $revoked) == 200 }, 'admitted');
$t->sql('update usher.key set revoked_at = now() where id = ?',
        $revoked->{id});
$t->wait_for(sub { (changes($t))[-1]->[1]{x} }, 'the change is there');
my $id = (changes($t))[-1]->[0];
$t->wait_for(sub { asked($monitor, qr/"XREAD".*"$id-0"/) >= 3 },
             'three edges have applied it');
$t->signal('redis', 'STOP');
is(status($t->on('edge3'), $revoked), 503, 'Redis hangs: cannot be known');
is(status($t->on('edge3'), $known), 200, 'others are');
$t->signal('redis', 'CONT');
kill 'TERM', $monitor->{pid};

# Redis gone, or hanging: known keys do not wait for it

$t->kill9('redis');
is(status($t->on('edge3'), $known), 200, 'Redis is dead: known is known');
is(status($t->on('edge3'), { key => key_new($t)->{key} }), 503,
   'the unknown cannot be known');
$t->wait_for(sub { answers() eq '503 503 200' }, 'stale passes here too');
$t->start_redis;
$t->wait_for(sub { answers() eq '200 200 200' },
             'an empty Redis is filled, edges follow', 20);

# an nginx that starts while usherd is away serves within stale

$t->stop('usherd');
$t->restart('edge1');
$t->wait_for(sub { status($t->on('edge1'), $known) == 200 },
             'a new nginx without heartbeat serves');
$t->wait_for(sub { status($t->on('edge1'), $known) == 503 },
             'until stale has passed');

for (
    [ 'usher_stale key', qr/invalid number of arguments/ ],
    [ 'usher_stale bucket 3s', qr/unknown kind "bucket"/ ],
    [ 'usher_stale key soon', qr/invalid time "soon"/ ],
    [ 'usher_stale key 1s; usher_stale key 2s', qr/duplicate/ ],
) {
    my ($conf, $says) = @$_;
    my ($code, $said) = $t->nginx_test("usher_zone 1m; $conf;");
    ok($code && $said =~ $says, "nginx -t: $conf") or diag $said;
}

done_testing();
