# Duty keep: one works, by its lease; what fails is told once and does not
# keep the rest from running.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;
my %conf = (usherd => { lease_s => 2 });

$t->postgres;
$t->redis;
$t->sql('alter function usher.keep_fold() rename to keep_fold_away');

my $days = $t->sql("select count(*) from pg_inherits where inhparent = "
                   . "'usher.request'::regclass");
my $last = $t->sql("select max(inhrelid::regclass::text) from pg_inherits "
                   . "where inhparent = 'usher.request'::regclass");
$t->sql("drop table $last");

# what another clock left: a lease of an hour hence, and what is old

$t->sql("insert into usher.lease (name, owner, until, seconds, attempt)
         values ('keep', 'gone', now() + interval '1 hour', 2, 1),
                ('slot:a', 'gone', now() + interval '1 hour', 2, 1)");
$t->sql("select usher.partition_ensure('part', (now() at time zone 'UTC')::date
                                               - 3)");
$t->sql("insert into usher.part (received_at, id, n, of, data)
         values (now() - interval '3 days', 'a', 1, 1, 'x')");

$t->usherd(duties => 'keep', conf => \%conf);
$t->wait_for(sub { $t->sql("select count(*) from pg_inherits where inhparent "
                           . "= 'usher.request'::regclass") == $days },
             'a missing day ahead is made');
$t->wait_for(sub { $t->log_of('usherd') =~ /keep_fold\(\)" failed: 42883/ },
             'a function that fails is told');

$t->wait_for(sub { !$t->sql('select count(*) from usher.part') },
             'a part without event is removed');
$t->wait_for(sub { $t->sql("select owner from usher.lease
                            where name = 'slot:a'") eq '' },
             'a lease that was left ahead is given back');

$t->usherd(name => 'usherd2', duties => 'keep', conf => \%conf);
$t->wait_for(sub { $t->sql("select count(*) from pg_stat_activity where "
                           . "application_name = 'usherd keep'") == 2 },
             'a second one is there');
sleep 1;
unlike($t->log_of('usherd2'), qr/holds the lease/, 'and stands by');

$t->sql('alter function usher.keep_fold_away() rename to keep_fold');
$t->kill9('usherd');
$t->wait_for(sub { $t->log_of('usherd2') =~ /holds the lease/ },
             'until the first is killed');

# it works: a closed hour is folded

$t->sql("insert into usher.usage_delta select h, 1, 1, '/', 200, 1, 1, 1, 1 "
        . "from (select closed_until - interval '1 hour' as h "
        . 'from usher.usage_close) x, generate_series(1, 3)');
$t->wait_for(sub { ($t->sql('select requests from usher.usage') // 0) == 3 },
             'closed hours are folded', 20);
is($t->sql('select count(*) from usher.usage_delta'), 0, 'and leave no sums');

# and its clicks are counted

my $hour = "date_trunc('hour', now() - interval '30 hours', 'UTC')";

$t->sql("update usher.click_close set done_until = $hour");
$t->sql("insert into usher.click select now(), $hour, 0, 0, 0, 0, '', 'edge1',
         'a', 'b', '', '', '', '', '', '', '', '', '', '', '', null, 302, 0");
$t->sql("update usher.click_batch set open_hour = $hour");
$t->wait_for(sub { ($t->sql('select sum(clicks) from usher.click_hour') // 0)
                   == 1 }, 'clicks of closed hours are counted', 30);

done_testing();
