
# Where Redis or PostgreSQL goes back in time a new lineage begins, and all
# records are written again: none that PostgreSQL does not have stays.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
customers($t);
key_make($t, 'one');
$t->usherd(duties => 'directory');
$t->wait_for(sub { record_is($t, key_id('one'), 'state', 'active') },
             'a record');

my @lineages = (lineage($t));


# a new lineage, and the record again

sub renewed {
    my ($what) = @_;

    $t->wait_for(sub { my $now = lineage($t);
                       $now =~ /^[0-9a-f]{16}$/
                       && !grep { $_ eq $now } @lineages },
                 "$what: a new lineage");
    push @lineages, lineage($t);

    is($t->sql('select lineage from usher.directory_state'), $lineages[-1],
       "$what: PostgreSQL knows it");
    is(record($t, key_id('one'))->{l}, $lineages[-1],
       "$what: records are of it");
}


sub idle {
    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, 'idle');
}


idle();
$t->redis_cli('flushall');
renewed('FLUSHALL');

$t->redis_cli('set', 'usher:d:' . key_id('ghost'), '{"v":1}');
$t->redis_cli('del usher:d:nonce');
renewed('nonce deleted');
is(record($t, key_id('ghost')), undef, 'what PostgreSQL has not, is gone');

$t->redis_cli('del usher:d:ready');
renewed('ready deleted');

# an honest restart of either begins nothing

$t->redis_cli('save');
$t->kill9('redis');
$t->start_redis;
$t->restart('usherd');
key_make($t, 'two');
$t->wait_for(sub { record_is($t, key_id('two'), 'state', 'active') },
             'after restarts changes come');
is(lineage($t), $lineages[-1], 'in the same lineage');

# a Redis that lost just one batch: the last one

idle();
$t->redis_cli('save');
$t->sql('update usher.key set revoked_at = now() where digest = sha256(?)',
        'two');
$t->wait_for(sub { record_is($t, key_id('two'), 'state', 'revoked') },
             'revoked');
idle();
$t->kill9('redis');
$t->start_redis;
renewed('older RDB');
is(record($t, key_id('two'))->{state}, 'revoked', 'the batch is back');

# PostgreSQL restored to before the last batch

idle();
$t->stop('usherd');
$t->stop('postgres');
my $data = $t->dir . '/pgdata';
system('cp', '-a', $data, "$data.copy") == 0 or die 'cp';
$t->start('postgres');
$t->start('usherd');

$t->wait_for(sub { $t->sql('select count(*) from usher.lease') }, 'up');
is(lineage($t), $lineages[-1], 'still the same lineage');
$t->sql('update usher.key set revoked_at = null where digest = sha256(?)',
        'two');
key_make($t, 'three');
$t->wait_for(sub { record_is($t, key_id('three'), 'state', 'active')
                   && record_is($t, key_id('two'), 'state', 'active') },
             'changes that the restore takes back');
idle();
$t->stop('postgres');
system('rm', '-rf', $data) == 0 && rename "$data.copy", $data or die 'mv';
$t->start('postgres');

renewed('PostgreSQL restored');
is(record($t, key_id('three')), undef, 'a key that never was');
is(record($t, key_id('two'))->{state}, 'revoked', 'a record of before');

# Redis emptied while nobody looks

$t->stop('usherd');
$t->redis_cli('flushall');
$t->start('usherd');
renewed('FLUSHALL without usherd');

done_testing();
