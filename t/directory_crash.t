
# The duty dies at the two moments that matter, is one of two, and loses
# nothing; an honest crash begins no new lineage.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
customers($t);
key_make($t, $_) for qw(one two three);
$t->usherd(duties => 'directory');
$t->wait_for(sub { record_is($t, key_id('three'), 'state', 'active') },
             'records');
idle();

my $lineage = lineage($t);


sub idle {
    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, 'idle');
}


sub nonce { (split ' ', $t->redis_cli('get usher:d:nonce'))[0] }


sub revoke {
    $t->sql('update usher.key set revoked_at = now()
             where digest = sha256(?)', $_[0]);
}


# Kills the duty where it waits for a lock.

sub killed_at {
    my ($lock, $key, $reached) = @_;

    (my $dsn = $t->dsn) =~ tr/ /;/;
    my $other = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

    $t->signal('directory', 'STOP');
    revoke($key);
    $other->begin_work;
    $other->do("lock table $lock");
    $t->signal('directory', 'CONT');

    $t->wait_for(sub { $t->sql("select count(*) from pg_locks
                                where not granted") }, "$key: the duty waits");
    ok($reached->(), "$key: where it should");

    my ($old) = $t->duties('directory');
    kill 'KILL', $old;

    $other->rollback;
    $other->disconnect;

    $t->wait_for(sub { my ($new) = $t->duties('directory');
                       $new && $new != $old }, "$key: a new duty");
    $t->wait_for(sub { record_is($t, key_id($key), 'state', 'revoked') },
                 "$key: the change was not lost");
    idle();
    is(lineage($t), $lineage, "$key: no new lineage");
}


# announced in PostgreSQL, Redis does not know yet

killed_at('usher.key in access exclusive mode', 'one', sub {
    my $nonce = nonce();
    $t->sql('select nonce <> ? and last_nonce = ?
             from usher.directory_state', $nonce, $nonce)
});

my ($last) = map { $_->[0] } (changes($t))[-1];
cmp_ok($last, '>', 1000, 'numbers are left out: nobody knows who saw that');

# written to Redis, PostgreSQL does not know yet

killed_at('usher.directory_outbox in share mode', 'two', sub {
    record_is($t, key_id('two'), 'state', 'revoked')
    && $t->sql('select nonce = ? and last_nonce <> ?
                from usher.directory_state',
               (nonce()) x 2)
});

# kill -9 again and again while much changes

$t->sql("insert into usher.key (org_id, digest)
         select 1, sha256(('bulk' || i)::bytea)
         from generate_series(1, 20000) i");
for (1 .. 5) {
    $t->kill9('directory');
    $t->wait_for(sub { $t->duties('directory') }, "killed, comes back ($_)");
}
idle();
is((grep { !record_is($t, key_id("bulk$_"), 'state', 'active') }
    map { $_ * 100 } 1 .. 200), 0, 'every key has its record');
is(lineage($t), $lineage, 'still the same lineage');

my @ids = map { $_->[0] } changes($t, $last);
my $gaps = grep { $ids[$_] - $ids[$_ - 1] != 1 } 1 .. $#ids;
cmp_ok($gaps, '<=', 5, 'no gap but where the duty was killed');

# a second usherd stands by, and takes over

$t->usherd(name => 'usherd2', duties => 'directory');
$t->wait_for(sub { $t->log_of('usherd2') =~ /stands by/ }, 'stands by');
is($t->sql("select count(*) from usher.lease where name like 'directory:%'"),
   1, 'one lease');

$t->kill9('usherd');
$t->wait_for(sub { $t->log_of('usherd2') =~ /writes, by the lease/ },
             'the second one takes over', 30);
revoke('three');
$t->wait_for(sub { record_is($t, key_id('three'), 'state', 'revoked') },
             'and writes');
is(lineage($t), $lineage, 'in the same lineage');

done_testing();
