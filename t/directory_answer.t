#!/usr/bin/perl

# Redis shows a batch to the edges, its answer does not come, and then it is as
# it was before (a replica again, of one that had less): as usherd left it, and
# yet edges have read further.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory',
           conf => { redis => { timeout_ms => 500 } });
$t->ctl('org create name=acme');
my $key = key_new($t);

edge($t);
$t->wait_for(sub { status($t, $key) == 200 }, 'admitted');
$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'idle');

my $lineage = lineage($t);
my ($last) = map { $_->[0] } (changes($t))[-1];
my $nonce = $t->redis_cli('get usher:d:nonce');
$t->redis_cli('copy', 'usher:changes', 'was');


sub lock_of {
    my ($table) = @_;

    (my $dsn = $t->dsn) =~ tr/ /;/;
    my $db = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

    $db->begin_work;
    $db->do("lock table $table in access exclusive mode");

    return $db;
}


sub locked { $t->sql("select count(*) from pg_stat_activity
                      where application_name = 'usherd directory'
                            and wait_event_type = 'Lock'") }


# the batch is announced; Redis hangs when it comes, and takes it later

my $records = lock_of('usher.subscription');

key_make($t, 'new');
$t->wait_for(sub { locked() }, 'a batch has begun');
$t->signal('redis', 'STOP');
$records->rollback;
$t->wait_for(sub { $t->log_of('usherd') =~ /lost Redis/ }, 'no answer', 20);

my $state = lock_of('usher.directory_state');

$t->signal('redis', 'CONT');
$t->wait_for(sub { $t->get('/usher/status')->json->{directory}{change}
                   == $last + 1 }, 'the edge has read it');
$t->wait_for(sub { locked() }, 'usherd is back');
$t->redis_cli('set', 'usher:d:nonce', $nonce);
$t->redis_cli('del', 'usher:d:' . key_id('new'));
is($t->redis_cli('rename', 'was', 'usher:changes'), 'OK', 'Redis is as it was');

# a revocation takes the number that the edge has read

$t->sql('update usher.key set revoked_at = now() where id = ?', $key->{id});
is(status($t, $key), 200, 'nobody knows yet');
$state->rollback;
$t->wait_for(sub { status($t, $key) == 401 }, 'revoked', 20);
$t->wait_for(sub { record($t, key_id('new')) }, 'the batch is back');
is(lineage($t), $lineage, 'in the same lineage');
cmp_ok((changes($t))[-1][0], '>', $last + 1000, 'numbers are left out');

done_testing();
