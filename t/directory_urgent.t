
# What takes something away passes a bulk change that has begun: it waits for
# a slice of it.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use List::Util qw(sum);


my $t = Usher::Test->new;

$t->postgres;
$t->redis;

my ($org, $plan) = customers($t);
key_make($t, 'one');
$t->sql("insert into usher.key (org_id, digest)
         select ?, sha256(('bulk' || i)::bytea)
         from generate_series(1, 2500) i", $org);

$t->usherd(duties => 'directory');
$t->wait_for(sub { lineage($t) =~ /^[0-9a-f]{16}$/ }, 'ready');
$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'the outbox is empty');

my ($last) = (changes($t))[-1]->[0];

# the duty has begun with the bulk, and waits for a table of its records

my $lock = $t->db->clone;

$lock->begin_work;
$lock->do('lock table usher.subscription');
$t->sql('update usher.key set plan_id = ? where digest <> sha256(?)',
        $plan, 'one');
$t->wait_for(sub {
    $t->sql("select count(*) from pg_stat_activity
             where application_name = 'usherd directory'
                   and wait_event_type = 'Lock'")
}, 'the bulk has begun');

$t->sql('update usher.key set revoked_at = now() where digest = sha256(?)',
        'one');
$lock->commit;
$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'the outbox is empty');

my @seen = changes($t, $last);
my ($at) = grep { $seen[$_][1]{x} } 0 .. $#seen;
my @n = map { 1 + $_->[1]{i} =~ tr/ // } @seen;

is($at, 1, 'one change came before the urgent one');
is($n[0], 200, 'of a slice');
is($n[$at], 1, 'the urgent one was alone');
is(sum(@n), 2501, 'each id was told once');

my %ids = map { $_ => 1 } map { split / /, $_->[1]{i} } @seen;

is(keys %ids, 2501, 'and every one of them');
is(record($t, key_id('bulk2500'))->{plan_id}, $plan, 'with its record');

done_testing();
