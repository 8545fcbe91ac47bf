# The supervisor: duties that die, a supervisor that dies, servers that are
# not there, metrics.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

use Usher::Test::Process qw(alive);


my $t = Usher::Test->new;


sub metrics { $t->metrics }


# neither server is there yet

$t->usherd(conf => { usherd => { batch_age_ms => 20, lease_s => 2 } });
$t->wait_for(sub { $t->log_of('usherd') =~ /Redis .* cannot be reached/ },
             'it starts without Redis');
ok($t->running('usherd'), 'and runs');
like(metrics(), qr{^HTTP/1.0 200.*^usherd_redis_up\{duty="flush/0"\} 0$}ms,
     'and says so in its metrics');

$t->redis;
$t->wait_for(sub { $t->log_of('usherd') =~ /PostgreSQL cannot be reached/ },
             'nor PostgreSQL');
$t->postgres;

my $slot = Usher::Slot->new($t);
$slot->append($slot->requests(5))->ship;
$t->wait_for(sub { $slot->stored }, 'it recovers', 20);
is($slot->once, '', 'each event is one row');

$t->wait_for(sub { metrics() =~ m{^usherd_flush_rows_total\{[^\}]*\} 5$}m },
             'rows are counted');
$t->wait_for(sub {
    metrics() =~ m{^usherd_keep_runs_total\{duty="keep/0"\} [1-9]}m
}, 'keep runs');
unlike(metrics(), qr{^usherd_keep_runs_total\{duty="flush}m,
       'a series is only of its duty');
is(() = $t->log_of('usherd') =~ /flush.* Redis .* cannot be reached/g, 1,
   'one line per change of state');


# each duty is started again

for my $duty (qw(flush directory react keep)) {
    my $old = $t->kill9($duty);

    $t->wait_for(sub { my @now = $t->duties($duty);
                       @now && !grep { $_ == $old } @now },
                 "$duty is killed and started again");
}

$slot->append($slot->requests(5))->ship;
$t->wait_for(sub { $slot->stored }, 'flush goes on');
$t->wait_for(sub { metrics() =~ m{^usherd_restarts_total\{duty="keep/0"\} 1$}m },
             'restarts are counted');
$t->wait_for(sub { metrics() =~ m{^usherd_flush_rows_total\{[^\}]*\} 10$}m },
             'counters outlive their duty');


# a duty that ends again and again is not started without pause

my $pause = sub { () = $t->log_of('usherd') =~ /keep.* again in [1-9]\d+ ms/g };
for (1 .. 3) {
    $t->wait_for(sub { scalar $t->duties('keep') }, 'keep runs');
    $t->kill9('keep');
}
$t->wait_for($pause, 'the pause grows');


# SIGTERM ends a duty in the midst of a statement, too

my @duties = map { $t->duties($_) } qw(flush directory react keep);
my $db = DBI->connect('dbi:Pg:' . $t->dsn =~ tr/ /;/r, '', '',
                      { RaiseError => 1 });
$db->begin_work;
$db->do('lock table usher.journal in share mode');
$slot->append($slot->requests(5))->ship;
$t->wait_for(sub { scalar $t->sql(
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock'") },
    'flush waits for a lock');
$t->stop('usherd');
ok(!$t->running('usherd'), 'SIGTERM ends usherd');
$t->wait_for(sub { !grep { alive($_) } @duties }, 'and its duties');
$db->rollback;
$db->disconnect;
ok(!-e "$t->{dir}/usherd.metrics", 'its socket is gone');


# a killed supervisor takes its duties along

$t->start('usherd');
$t->wait_for(sub { 4 == grep { $t->duties($_) } qw(flush directory react keep) },
             'started again');
@duties = map { $t->duties($_) } qw(flush directory react keep);
$t->kill9('usherd');
$t->wait_for(sub { !grep { alive($_) } @duties },
             'a killed supervisor takes its duties along');
$t->start('usherd');
$t->wait_for(sub { $slot->stored }, 'and another goes on', 20);
is($slot->once, '', 'each event is one row');

done_testing();
