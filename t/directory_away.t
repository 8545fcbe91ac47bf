#!/usr/bin/perl

# Redis goes while the duty is at work: no transaction stays open in PostgreSQL
# for as long as it is away, and a rebuild that it cut off is begun anew.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
customers($t);
key_make($t, 'one');
$t->usherd(duties => 'directory');
$t->wait_for(sub { record($t, key_id('one')) }, 'a record');
$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'idle');

(my $dsn = $t->dsn) =~ tr/ /;/;
my $other = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });


# The duty comes to read records, and then Redis is not there.

sub cut {
    my ($what, $begin) = @_;

    $other->begin_work;
    $other->do('lock table usher.subscription in access exclusive mode');
    $begin->();
    $t->wait_for(sub { $t->sql("select count(*) from pg_locks
                                where not granted") }, "$what: it has begun");
    $t->stop_redis;
    $other->rollback;
    $t->wait_for(sub { 1 == (() = $t->log_of('usherd')
                                  =~ /Redis \S+ cannot be reached/g) },
                 "$what: Redis is away");
    is($t->sql("select count(*) from pg_stat_activity
                where application_name = 'usherd directory'
                      and state like 'idle in transaction%'"), 0,
       "$what: no transaction is open");
    truncate "$t->{dir}/usherd.log", 0;
    $t->start_redis;
}


cut('batch', sub { key_make($t, 'two') });
$t->wait_for(sub { record($t, key_id('two')) }, 'batch: done');
cut('rebuild', sub { $t->redis_cli('del usher:d:ready') });
$t->wait_for(sub { lineage($t) =~ /^\w{16}$/ }, 'rebuild: done', 20);
ok(record($t, key_id('two')), 'rebuild: records');

done_testing();
