#!/usr/bin/perl

# One key of the directory's is deleted in Redis, and nothing else: what is
# revoked then, or was and had not been read, is heard nevertheless.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
my $user = edge_user($t);
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
my @keys = map { key_new($t) } 1 .. 8;

edge($t, user => $user);
$t->wait_for(sub { lineage($t) }, 'a lineage');

my $lineage = lineage($t);


sub revoke {
    $t->sql('update usher.key set revoked_at = now() where id = ?',
            $_[0]{id});
}


sub admitted {
    my ($key, $what) = @_;

    $t->wait_for(sub { status($t, $key) == 200 }, "$what: admitted");
}


sub revoked {
    my ($key, $what) = @_;

    revoke($key);
    $t->wait_for(sub { status($t, $key) == 401 }, "$what: revoked");
}


sub last_change { return (changes($t))[-1][0] }

sub idle {
    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, 'idle');
}


sub renewed {
    $t->wait_for(sub { my $now = lineage($t);
                       $now =~ /^\w{16}$/ && $now ne $lineage },
                 "$_[0]: a new lineage");
    $lineage = lineage($t);
}


# usherd's sign of life would mend it as well: it is to be the change

admitted($keys[$_], "key $_") for 0 .. 7;
revoked($keys[0], 'before');
idle();

my $last = last_change();
$t->signal('directory', 'STOP');
$t->redis_cli('del', 'usher:changes');
revoke($keys[1]);
$t->signal('directory', 'CONT');
$t->wait_for(sub { status($t, $keys[1]) == 401 }, 'changes deleted: revoked');
cmp_ok((changes($t))[0][0], '>', $last + 1, 'numbers go on, and leave one out');

# set back, and with entries of another

$t->redis_cli('del', 'usher:changes');
$t->redis_cli('xadd', 'usher:changes', '1-0', 'l', $lineage, 'k', 'key',
              'n', 1);
revoked($keys[2], 'changes set back');

# not a stream at all

$t->redis_cli('set', 'usher:changes', 'text');
revoked($keys[3], 'no stream');
is(lineage($t), $lineage, 'all in one lineage');

# an entry that no edge has read goes with the stream, and no other follows

idle();
admitted($keys[4], 'asked for again');
$t->redis_cli('acl', 'setuser', 'edge', '-xread');
$t->wait_for(sub { $t->error_log =~ /cannot be read/ }, 'it cannot read');
revoke($keys[4]);
idle();
$t->redis_cli('del', 'usher:changes');
is(status($t, $keys[4]), 200, 'it does not know');
$t->redis_cli('acl', 'setuser', 'edge', '+xread');
$t->wait_for(sub { status($t, $keys[4]) == 401 }, 'unread: revoked');
like($t->log_of('usherd'), qr/was deleted or set back/, 'and said');

# and where usherd does not look either

admitted($keys[5], 'once more');
$t->stop('usherd');
$t->redis_cli('del', 'usher:changes');
revoke($keys[5]);
$t->start('usherd');
$t->wait_for(sub { status($t, $keys[5]) == 401 }, 'without usherd: revoked');
is(lineage($t), $lineage, 'still in this lineage');

# PostgreSQL is older as well: a new lineage

idle();
admitted($keys[6], 'in the old one');
$t->stop('usherd');
$t->sql("update usher.directory_state
         set nonce = repeat('0', 16), last_nonce = repeat('0', 16)");
$t->redis_cli('del', 'usher:changes');
$t->start('usherd');
renewed('PostgreSQL set back');
revoked($keys[6], 'changes of a new lineage');

# the heartbeat and ready, each alone

idle();
admitted($keys[7], 'in the new one');
$t->redis_cli('del', 'usher:heartbeat');
$t->wait_for(sub { $t->redis_cli('get usher:heartbeat') =~ /^$lineage / },
             'the heartbeat goes on');
$t->redis_cli('del', 'usher:d:ready');
renewed('ready deleted');
revoked($keys[7], 'ready deleted');

done_testing();
