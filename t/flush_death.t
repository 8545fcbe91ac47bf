# Whatever dies between XREAD and the acknowledgement, each event is one row.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;
use Usher::Proxy;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush',
           conf => { usherd => { batch_age_ms => 20, lease_s => 2 } });

my $slot = Usher::Slot->new($t);

$slot->append($slot->requests(5))->ship;
$t->wait_for(sub { $slot->stored }, 'a beginning');


# A lock holds the transaction between its COPY and its COMMIT.

sub held {
    my ($what, $during) = @_;

    my $db = DBI->connect('dbi:Pg:' . $t->dsn =~ tr/ /;/r, '', '',
                          { RaiseError => 1 });

    $db->begin_work;
    $db->do('lock table usher.journal in share mode');
    $slot->append($slot->requests(5))->ship;
    $t->wait_for(sub { scalar $t->sql(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
        . "and query like 'WITH moved%'") }, "$what: it waits for its position");

    # no hour may close under a transaction that has summed into it

    ok(!eval { $t->sql("set lock_timeout = '100ms'");
               $t->sql('update usher.usage_close set closed_until '
                       . '= closed_until'); 1 }, "$what: hours cannot close");
    $t->sql('reset lock_timeout');

    $during->();
    $db->rollback;
    $db->disconnect;

    $t->wait_for(sub { $slot->stored }, "$what: stored in the end", 20);
    is($slot->once, '', "$what: each event is one row");
    is($t->sql('select sum(requests) from usher.usage_total'),
       scalar @{ $slot->{ids} }, "$what: and summed once");
}


held('duty killed', sub { $t->kill9('flush') });
held('usherd killed', sub { $t->kill9('usherd'); $t->start('usherd') });
held('backend ended', sub {
    $t->sql('select pg_terminate_backend(pid) from pg_stat_activity '
            . "where application_name = 'usherd flush'");
});
held('statement cancelled', sub {
    $t->sql('select pg_cancel_backend(pid) from pg_stat_activity '
            . "where application_name = 'usherd flush'");
});
held('Redis killed', sub {
    $t->kill9('redis');
    $t->start('redis');
    $slot->takeup(0);
});


# PostgreSQL itself

$slot->append($slot->requests(5));
$t->kill9('postgres');
$slot->ship;
sleep 1;
$t->start('postgres');
$t->wait_for(sub { $slot->stored }, 'PostgreSQL killed: stored', 30);
is($slot->once, '', 'PostgreSQL killed: each event is one row');


# a COMMIT that passed, and whose answer never came

$t->stop('usherd');
my $proxy = Usher::Proxy->new($t);
$t->usherd(name => 'usherd2', duties => 'flush', conf => {
    postgres => { conninfo => $proxy->conninfo('usherd') },
    usherd => { batch_age_ms => 20, lease_s => 2 } });

$slot->append($slot->requests(3))->ship;
$t->wait_for(sub { $slot->stored }, 'through a proxy');
$proxy->lose('COMMIT');
$slot->append($slot->requests(6))->ship;
$t->wait_for(sub { $proxy->lost }, 'the answer to a COMMIT is lost');
$t->wait_for(sub { $slot->ack_is($slot->end, 'o') }, 'it is acknowledged', 20);
is($slot->once, '', 'answer lost: each event is one row');
is($t->sql('select sum(requests) from usher.usage_total'),
   scalar @{ $slot->{ids} }, 'answer lost: and summed once');


# the day's partition is missing

my $day = $t->sql("select to_char(now() at time zone 'UTC', 'YYYYMMDD')");
$t->sql("alter table usher.request detach partition usher.request_$day");
$t->sql("alter table usher.request_$day rename to request_kept");
my $kept = $t->sql('select count(*) from usher.request_kept');
$slot->append($slot->requests(4))->ship;
$t->wait_for(sub { $slot->stored }, 'a missing partition is made', 20);
is($t->sql('select count(*) from usher.request'), 4, 'and has the rows');
is($t->sql('select count(*) from usher.quarantine'), 0,
   'none was taken for poison');

unlike($t->log_of('usherd') . $t->log_of('usherd2'), qr/\[alert\]/,
       'nor was any of these deaths a thing to wake a person for');


# trouble that only a person can end: said once, and nothing is lost

my $hooks = Usher::Slot->new($t);

$t->sql('alter table usher.request rename to elsewhere');
$slot->append($slot->requests(4))->ship;
$hooks->append($hooks->hook('shop', 'a'))->ship;
$t->wait_for(sub { $hooks->stored }, 'a table is gone: other slots go on', 20);
$t->wait_for(sub { $t->log_of('usherd2') =~ /\[alert\].*cannot store: 42P01/ },
             'it is told');
sleep 2;
is(() = $t->log_of('usherd2') =~ /cannot store/g, 1, 'once');
$t->sql('alter table usher.elsewhere rename to request');
$t->wait_for(sub { $slot->stored }, 'it is back: stored', 20);
is($t->sql('select count(*) from usher.request'), 8, 'each event is one row');
like($t->log_of('usherd2'), qr/storing again/, 'it is told');

done_testing();
