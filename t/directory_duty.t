
# The duty directory: what is in PostgreSQL comes to Redis, with versions,
# tombstones and numbered changes.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;

my ($org, $plan) = customers($t);
key_make($t, 'one');

$t->usherd(duties => 'directory');

$t->wait_for(sub { lineage($t) =~ /^[0-9a-f]{16}$/ }, 'ready');

my $lineage = lineage($t);
my $one = record($t, key_id('one'));

is($one->{l}, $lineage, 'a record names its lineage');
is($one->{state}, 'active', 'and the state');
is($one->{plan_id}, $plan, 'and the plan');
is(record($t, "plan:$plan")->{policies}[0]{quota}, 20, 'a plan has policies');

# the outbox of what was there before the rebuild goes too

$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'the outbox is empty');

my $beat = $t->redis_cli('get usher:heartbeat');
like($beat, qr/^$lineage \d+$/, 'heartbeat');
$t->wait_for(sub { $t->redis_cli('get usher:heartbeat') ne $beat },
             'it goes on');

# new keys raise the epoch only

my ($last) = (changes($t))[-1]->[0];

key_make($t, 'two');
$t->wait_for(sub { record_is($t, key_id('two'), 'state', 'active') },
             'a new key has a record');
is_deeply([ changes($t, $last) ],
          [ [ $last + 1, { l => $lineage, k => 'key', n => 1 } ] ],
          'and its change is a new epoch of negatives');

# a revocation is urgent

my $version = record($t, key_id('one'))->{v};

$t->sql('update usher.key set revoked_at = now() where digest = sha256(?)',
        'one');
$t->wait_for(sub { record_is($t, key_id('one'), 'state', 'revoked') },
             'a revoked key is revoked');
cmp_ok(record($t, key_id('one'))->{v}, '>', $version, 'in a higher version');
is_deeply([ changes($t, $last + 1) ],
          [ [ $last + 2, { l => $lineage, k => 'key', x => 1,
                           i => key_id('one') =~ s/^key://r } ] ],
          'its change is urgent');

# deletion leaves a tombstone

$t->sql('delete from usher.key where digest = sha256(?)', 'two');
$t->wait_for(sub { record_is($t, key_id('two'), 'gone', 1) }, 'a tombstone');

# revocations pass what waits

$t->signal('directory', 'STOP');
$t->sql("insert into usher.key (org_id, digest)
         select 1, sha256(('bulk' || i)::bytea)
         from generate_series(1, 5000) i");
$t->sql("update usher.key set name = 'x', scopes = '{a}'
         where digest = sha256(?)", 'one');
($last) = (changes($t))[-1]->[0];
$t->signal('directory', 'CONT');

$t->wait_for(sub { record_is($t, key_id('bulk5000'), 'state', 'active') },
             'many keys');

my @seen = changes($t, $last);
is($seen[0][1]{x}, 1, 'what is urgent came first');
is((grep { $_->[1]{n} } @seen), @seen - 1, 'the rest raised the epoch');
is_deeply([ map { $_->[0] } @seen ], [ $last + 1 .. $last + @seen ],
          'ids are previous + 1');
$t->wait_for(sub {
    $t->sql('select change_id from usher.directory_state') == $seen[-1][0]
}, 'PostgreSQL knows the last one');

# a bulk update: 1,000 ids per change

$t->sql("update usher.key set plan_id = ? where scopes = '{}'", $plan);
$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'bulk update');

my @bulk = changes($t, $seen[-1][0]);
my @ids = map { split / /, $_->[1]{i} } @bulk;
my %ids = map { $_ => 1 } @ids;
is(scalar keys %ids, 5000, 'every id was told');
is((grep { $_->[1]{i} =~ tr/ // >= 1000 } @bulk), 0,
   'at most 1,000 in one change');

# what an edge could not read is written again

my $bad = key_id('one');
$t->redis_cli('set', "usher:d:$bad", 'no record');
$t->redis_cli('sadd', 'usher:d:bad', $bad, 'nonsense', 'what:ever',
              "key:\xff");
$t->wait_for(sub { record_is($t, $bad, 'state', 'revoked') },
             'a corrupt record is mended');
is($t->redis_cli('scard usher:d:bad'), 0, 'its report is gone');
is((changes($t))[-1]->[1]{i}, $bad =~ s/^key://r, 'and edges are told');
unlike($t->log_of('usherd'), qr/transaction of the directory failed/,
       'what is no id is no error');

is(lineage($t), $lineage, 'all in one lineage');

done_testing();
