# From usherctl key rotate to a running edge: the successor is taken for all
# that the old key was, and the old key until its grace period ends.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');

for my $plan (qw(common own)) {
    $t->ctl("plan create name=$plan");
    $t->ctl("plan policy set plan=$plan policy=$plan-pace rate=1000/s");
}

$t->ctl('subscription start org=acme plan=common');

sub new {
    return $t->ctl('key create org=acme plan=own scope=read '
                   . 'allow=127.0.0.0/8');
}

my ($long, $short, $none) = map { new() } 1 .. 3;

edge($t, workers => 1, auth => 'scope=read', http => <<'CONF');
usher_limit plan;
add_header X-Auth $usher_auth_status always;
CONF


# What the edge says: status, reason, the policy that counts.

sub told {
    my $r = ask($t, shift);

    return join ' ', $r->status, $r->header('X-Auth'),
        ($r->header('RateLimit-Policy') // '') =~ /"([\w-]+)"/;
}


my $good = '200 ok own-pace';

for my $key ($long, $short, $none) {
    $t->wait_for(sub { told($key) eq $good }, 'a key is taken', 30);
}

my $next = $t->ctl("key rotate key=$long->{id} grace=1h");
$t->wait_for(sub { told($next) eq $good }, 'its successor is', 30);
is(told($long), $good, 'and the old one, in its grace period');

$t->ctl("key revoke key=$next->{id}");
$t->wait_for(sub { told($next) =~ /^401 revoked/ }, 'until it is revoked', 30);
is(told($long), $good, 'which is not the old one\'s end');

$next = $t->ctl("key rotate key=$short->{id} grace=2s");
$t->wait_for(sub { told($short) =~ /^401 rotated/ },
             'without any change the grace period ends', 30);
is(told($next), $good, 'the successor stays');

$next = $t->ctl("key rotate key=$none->{id} grace=0");
$t->wait_for(sub { told($next) eq $good }, 'a successor without grace', 30);
$t->wait_for(sub { told($none) =~ /^401 rotated/ }, 'none is none', 30);
like(ask($t, $none)->header('WWW-Authenticate'), qr/invalid_token/,
     'the client is told that its key is of no use');

done_testing();
