
# A Redis that answers, but with errors: what cannot be read counts as not
# heard of, is said once, and is tried again without haste.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');

my ($known, @keys) = map { key_new($t) } 1 .. 3;

edge($t, user => edge_user($t), http => 'usher_stale key 2s;');
$t->wait_for(sub { status($t, $known) == 200 }, 'admitted');


sub allow { $t->redis_cli('acl', 'setuser', 'edge', @_) }
sub said { return scalar(() = $t->error_log =~ /$_[0]/g) }

sub revoke {
    $t->sql('update usher.key set revoked_at = now() where id = ?',
            $_[0]->{id});
}

sub refused {
    my ($command) = @_;

    return ($t->redis_cli('info commandstats')
            =~ /_$command:.*rejected_calls=(\d+)/)[0] // 0;
}


# a revocation that cannot be read: the edge knows that it does not know

my $cannot = 'changes of the directory cannot be read';

for my $command (qw(xread mget)) {
    my $key = shift @keys;

    $t->wait_for(sub { status($t, $key) == 200 }, 'admitted');

    my $before = said($cannot);
    my $again = said('are read again');

    my $since = time;
    my $tries = refused($command);

    allow("-$command");
    revoke($key);
    $t->wait_for(sub { said("$cannot.*\U$command\E was answered \"NOPERM") },
                 "$command is refused: said");
    $t->wait_for(sub { status($t, $known) == 503 }, 'stale passes');
    is(status($t, $key), 503, 'the revoked key has stopped');
    is(said($cannot), $before + 1, 'once');

    # a loop asks a hundred times a second; so do not these, though each of
    # the requests above may ask as well
    cmp_ok(refused($command) - $tries, '<=', 20 + 10 * (time - $since + 1),
           'tried again without haste');

    allow("+$command");
    $t->wait_for(sub { status($t, $key) == 401 }, 'allowed: revoked');
    $t->wait_for(sub { status($t, $known) == 200 }, 'and the others serve');
    is(said('are read again'), $again + 1, 'said once');
}

# the place in a new lineage

my $before = said($cannot);

allow('-xrevrange');
$t->redis_cli('del usher:d:ready');
$t->wait_for(sub { said("$cannot.*XREVRANGE was answered") },
             'the place is refused: said');
$t->wait_for(sub { status($t, $known) == 503 }, 'stale passes');
is(said($cannot), $before + 1, 'said once');
allow('+xrevrange');
$t->wait_for(sub { status($t, $known) == 200 }, 'the new lineage is followed');

# a Redis that does not say whether it evicts is refused like one that does

my $fresh = key_new($t);

$t->expect_alerts(qr/does not say whether/);
allow('-info');
$t->wait_for(sub { said('does not say whether it may evict') },
             'INFO is refused: said');
is(status($t, $fresh), 503, 'the unknown is not known');
allow('+info');
$t->wait_for(sub { status($t, $fresh) == 200 }, 'allowed: it is');
is(said('does not say whether'), 1, 'once');

done_testing();
