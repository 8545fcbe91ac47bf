#!/usr/bin/perl

# A primary shows a batch to the edges, and dies before its replica has it and
# before usherd hears of it.  What is revoked then takes the numbers that edges
# have read already: it is heard nevertheless.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
my $key = key_new($t);

edge($t);
$t->wait_for(sub { status($t, $key) == 200 }, 'admitted');
$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'idle');

my $lineage = lineage($t);
my $nonce = $t->redis_cli('get usher:d:nonce');
my ($last) = map { $_->[0] } (changes($t))[-1];

# a batch that PostgreSQL has announced and Redis has; edges have read it

(my $dsn = $t->dsn) =~ tr/ /;/;
my $other = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

$t->signal('directory', 'STOP');
key_make($t, 'new');
$other->begin_work;
$other->do('lock table usher.directory_outbox in share mode');
$t->signal('directory', 'CONT');
$t->wait_for(sub { record($t, key_id('new')) }, 'it is in Redis');
$t->wait_for(sub { $t->sql('select count(*) from pg_locks
                            where not granted') }, 'and not yet done');
$t->wait_for(sub { $t->get('/usher/status')->json->{directory}{change}
                   == $last + 1 }, 'the edge has read it');

my ($duty) = $t->duties('directory');

kill 'KILL', $t->pid('usherd'), $duty;
$t->stop('usherd');
$other->rollback;
$other->disconnect;

# Redis is as its replica was

$t->redis_cli('set', 'usher:d:nonce', $nonce);
$t->redis_cli('del', 'usher:d:' . key_id('new'));
$t->redis_cli('xdel', 'usher:changes', ($last + 1) . '-0');
$t->redis_cli('xsetid', 'usher:changes', "$last-0");

$t->sql('update usher.key set revoked_at = now() where id = ?', $key->{id});
is(status($t, $key), 200, 'nobody knows yet');
$t->start('usherd');
$t->wait_for(sub { status($t, $key) == 401 }, 'revoked', 20);
$t->wait_for(sub { record($t, key_id('new')) }, 'the batch is back');
is(lineage($t), $lineage, 'in the same lineage');

done_testing();
