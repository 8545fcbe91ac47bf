# What usher_metrics says of the directory and of Redis, value by value.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;
use Usher::Key;

my $t = Usher::Test->new;

$t->redis;
my $d = Usher::Key->new($t);
my ($one, $two, $bad) = map { { key => $d->key } } 1 .. 3;
my $none = { key => Usher::Key::text() };

$t->nginx(<<'EOF', workers => 1);
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_auth_failures off;
    server {
        listen 127.0.0.1:%%PORT%%;
        location / {
            usher_auth on;
            usher_event off;
            root %%DIR%%;
        }
        location = /metrics { usher_event off; usher_metrics; }
    }
EOF
$t->write_file('edge1/file', 'hello');

sub metrics {
    my %m = $t->get('/metrics')->body =~ /^usher_(\S+) (\S+)$/mg;

    return \%m;
}

# By how much the counters of the directory moved since the last call, those
# that did.

my $was = {};

sub moved {
    my $is = metrics();
    my %by = map { /^directory_(\w+)_total$/
                   ? ($1 => $is->{$_} - ($was->{$_} // 0)) : () } keys %$is;

    $was = $is;

    return { map { $by{$_} ? ($_ => $by{$_}) : () } keys %by };
}

sub is_moved {
    my ($by, $name) = @_;

    is_deeply(moved(), $by, $name);
}

# gauges

my $ready = 'redis_workers{role="directory",state="ready"}';
my $down = 'redis_workers{role="directory",state="down"}';

$t->wait_for(sub { metrics()->{directory_ready} && metrics()->{$ready} },
             'ready');
is(metrics()->{$ready}, 1, 'the one worker is ready');
is(metrics()->{$down}, 0, 'none is down');
$t->wait_for(sub { $d->beat;
                   metrics()->{directory_heartbeat_age_seconds} < 2 },
             'the heartbeat is young');
is(metrics()->{directory_change}, 0, 'no change yet');
moved();

# look-ups

is(status($t, $one), 200, 'a miss');
is_moved({ misses => 1, suspends => 1, hits => 1 }, 'one, then a hit');
is(status($t, $one), 200, 'a hit');
is_moved({ hits => 1 }, 'one');
is(status($t, $none), 401, 'an unknown key');
is_moved({ misses => 1, suspends => 1, negatives => 1 }, 'a negative');
is(status($t, $none), 401, 'the same');
is_moved({ negatives => 1 }, 'without a miss');

# changes

$d->change($one->{key}, state => 'revoked');
$t->wait_for(sub { metrics()->{directory_change} == 1 }, 'a change');
is_moved({ changes => 1 }, 'one');

my $generation = metrics()->{directory_generation};

$d->{change} += 2;
$d->announce('key', '0' x 64);
$t->wait_for(sub { metrics()->{directory_change} == 4 }, 'after a gap');
is(metrics()->{directory_generation}, $generation + 1, 'a new generation');
is_moved({ changes => 1 }, 'one change');

# records that cannot be read

$d->write('key', Digest::SHA::sha256_hex($bad->{key}), { id => 'none' });
is(status($t, $bad), 503, 'a corrupt record');
is_moved({ misses => 1, suspends => 1, corrupt => 1 }, 'one');

# a Redis that hangs, and one that is gone

is(status($t, $two), 200, 'known');
moved();
$d->change($two->{key}, soft => 1, scope => 'read');
$t->wait_for(sub { metrics()->{directory_change} == 5 }, 'outdated');
moved();
$t->signal('redis', 'STOP');
is(status($t, $two), 200, 'Redis hangs');
is_moved({ misses => 1, suspends => 1, timeouts => 1, stale => 1 },
         'one met its deadline, and was served');
$t->signal('redis', 'CONT');

my $errors = metrics()->{redis_errors_total};

$t->kill9('redis');
$t->wait_for(sub { metrics()->{$down} == 1 }, 'it is dead: down');
is(metrics()->{$ready}, 0, 'none is ready');
cmp_ok(metrics()->{redis_errors_total}, '>', $errors, 'counted');

done_testing();
