# A database that hangs is given up on, by itself and again and again, and
# nothing is lost or doubled by that.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => {
    postgres => { statement_timeout_ms => 1000 },
    usherd => { batch_age_ms => 20 } });

my $slot = Usher::Slot->new($t);

$slot->append($slot->requests(3))->ship;
$t->wait_for(sub { $slot->stored }, 'a beginning');


# a lock that is held for longer than a statement may take

my $db = DBI->connect('dbi:Pg:' . $t->dsn =~ tr/ /;/r, '', '',
                      { RaiseError => 1 });

$db->begin_work;
$db->do('lock table usher.journal in share mode');
$slot->append($slot->requests(5))->ship;
$t->wait_for(sub { $t->log_of('usherd') =~ /\[error\].*cannot store: 57014/ },
             'a statement is given up after its time');
$t->wait_for(sub { 2 <= (() = $t->slurp("$t->{dir}/postgres.log")
                              =~ /due to statement timeout/g) },
             'and tried again');
$db->rollback;
$db->disconnect;
$t->wait_for(sub { $slot->stored }, 'stored when it can be', 20);
is($slot->once, '', 'each event is one row');


# its process hangs, and is killed in the end

my ($pid) = $t->sql("select pid from pg_stat_activity
                     where application_name = 'usherd flush'");

kill 'STOP', $pid;
$slot->append($slot->requests(5))->ship;
sleep 2;
cmp_ok($slot->position, '<', $slot->end, 'it hangs');
kill 'CONT', $pid;
$t->wait_for(sub { $slot->stored }, 'it goes on', 20);
is($slot->once, '', 'each event is one row');
is($t->sql('select sum(requests) from usher.usage_total'),
   scalar @{ $slot->{ids} }, 'and summed once');

done_testing();
