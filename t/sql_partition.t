# Partitions: made ahead in UTC, beside a running COPY, and dropped in time.

use lib 't/lib';
use Usher::Test;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->sql('set client_min_messages = error');

my $other = DBI->connect('dbi:Pg:' . join(';', split ' ', $t->dsn('usherd')),
                         '', '', { RaiseError => 1, PrintError => 0,
                                    AutoInactiveDestroy => 1 });


sub partitions {
    return map { $_->[0] } $t->rows(q{
        select relname from pg_class c join pg_inherits i on i.inhrelid = c.oid
        where i.inhparent = ('usher.' || ?)::regclass
              and c.relkind = 'r' order by 1 }, @_);
}


sub row {
    my ($at) = @_;

    return "insert into usher.request (received_at, event_time, route, status,
        units, bytes_sent, duration_ms, request_id, node, method, host, uri,
        user_agent, referer, auth_status, limit_status, protocol, flags)
        values ('$at', now(), '/', 200, 0, 0, 0, 'r', 'n', 'GET', 'h', '/',
        '', '', '', '', '', 0)";
}


my @days = partitions('request');
ok(@days >= 8, 'a week ahead') or diag("@days");
is(scalar partitions($_), scalar @days, "of $_ too") for qw(hook part);

# days are UTC, whatever the session's zone is

$other->do("set timezone = 'Pacific/Kiritimati'");
is($other->selectrow_array("select usher.partition_ensure('request',
                            '2026-03-29')"), 1, 'a day is made by usherd');
is($other->selectrow_array("select usher.partition_ensure('request',
                            '2026-03-29')"), 0, 'once');
$other->do("set timezone = 'UTC'");
$other->do(row($_)) for '2026-03-29 00:00:00+00', '2026-03-29 23:59:59.99+00';
is($t->sql('select count(*) from usher.request_20260329'), 2,
   'it is the day in UTC');
ok(!eval { $other->do(row('2026-03-30 00:00:00+00')); 1 },
   'there is no default partition');
is($other->state, '23514', 'which is how flush hears of it');

my %has = map { $_->[0] => 1 } $t->rows(q{
    select indexdef from pg_indexes where tablename = 'request_20260329' });
is(scalar(grep { /brin|btree/ } keys %has), 2, 'with the indexes');

# made while a COPY holds the table

$other->begin_work;
$other->do('lock table usher.request in row exclusive mode');
$t->sql("set lock_timeout = '300 ms'");
is($t->sql("select usher.partition_ensure('request', '2026-05-01')"), 1,
   'a running COPY is not waited for');
$other->do(row('2026-05-01 12:00+00'));
$other->rollback;

ok(!eval { $t->sql("select usher.partition_ensure('org', '2026-05-01')"); 1 },
   'other tables have none');

# two at once

my @pids = map {
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        my $db = DBI->connect('dbi:Pg:' . join(';', split ' ', $t->dsn), '',
                              '', { RaiseError => 1, PrintError => 0 });
        $db->do("select usher.partition_ensure('request',
                 date '2027-01-01' + n) from generate_series(0, 9) n");
        require POSIX;
        POSIX::_exit(0);
    }

    $pid;
} 1 .. 3;

is(scalar(grep { waitpid($_, 0); $? } @pids), 0, 'three keeps at once');
is(scalar(grep { /2027/ } partitions('request')), 10, 'make ten days once');

# retention

$t->sql("update usher.retention set keep = '10 days'
         where table_name = 'request'");
$t->sql("select usher.partition_ensure('request', d::date)
         from generate_series(now() - interval '12 days',
                              now() - interval '9 days',
                              interval '1 day') d");

my $before = partitions('request');
$other->begin_work;
$other->do("select 1 from usher.request where received_at < now()
            - interval '100 days' limit 1");
is($t->sql('select usher.partition_retention()'), 0,
   'days in use wait');
is(scalar partitions('request'), $before, 'and stay');
$other->rollback;

$t->sql('select usher.keep_partitions()');
my @left = partitions('request');
ok(!grep({ /20260329|20260501/ } @left), 'old days are dropped');
is($t->sql(q{select min(right(relname, 8)::date) >= (now() at time zone 'UTC'
             - interval '11 days')::date
             from pg_class where relname ~ '^request_[0-9]{8}$'}), 1,
   'days within retention stay');
is($t->sql("select rows from usher.partition_gone
            where day = '2026-03-29'"), 2, 'what was dropped is counted');

$t->sql("select usher.partition_ensure('part', '2020-03-29')");
$t->sql('select usher.keep_partitions()');
ok(!grep({ /20200329/ } partitions('part')), 'every table has its retention');

done_testing();
