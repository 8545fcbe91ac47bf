# All that a batch brings appears with its COMMIT: before it nothing is told
# to the edge, after a failure nothing is left, and nothing is counted twice.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush',
           conf => { usherd => { batch_age_ms => 20, lease_s => 2 } });

my $slot = Usher::Slot->new($t);

$slot->append($slot->requests(5))->ship;
$t->wait_for(sub { $slot->stored }, 'a beginning');
$t->wait_for(sub { $slot->ack_is($slot->end, 'o') }, 'acknowledged');


# A lock holds the transaction behind all its writes and before its COMMIT.

sub held {
    my ($what, @lines) = @_;

    my $position = $slot->end;
    my $db = DBI->connect('dbi:Pg:' . $t->dsn =~ tr/ /;/r, '', '',
                          { RaiseError => 1 });

    $db->begin_work;
    $db->do('lock table usher.journal in share mode');
    $slot->append(@lines)->ship;
    $t->wait_for(sub { scalar $t->sql(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
        . "and query like 'WITH moved%'") },
        "$what: it waits for its position");

    ok($slot->ack_is($position, 'o'), "$what: nothing is acknowledged");
    is($slot->redis->xlen($slot->key), 1, "$what: nor trimmed");
    is($t->sql('select count(*) from usher.quarantine'), 0,
       "$what: nor in quarantine");

    $t->kill9('flush');
    $db->rollback;
    $db->disconnect;

    $t->wait_for(sub { $slot->stored }, "$what: stored by another", 20);
    $t->wait_for(sub { $slot->ack_is($slot->end, 'o') },
                 "$what: acknowledged", 20);
    $t->wait_for(sub { !$slot->redis->xlen($slot->key) }, "$what: trimmed");
    is($slot->once, '', "$what: each event is one row");
}


held('good lines', $slot->requests(5));

my @mixed = ($slot->requests(5), $slot->hook('shop', 'a'),
             $slot->requests(1, address => 'nowhere'));
pop @{ $slot->{ids} };
held('poison', @mixed);
is($t->sql('select count(*) from usher.quarantine'), 1,
   'poison: it is in quarantine, once');


# an attempt that fails behind its unique kinds: no partition for the parts

my $day = $t->sql("select to_char(now() at time zone 'UTC', 'YYYYMMDD')");

$t->sql("drop table usher.part_$day");
$slot->append($slot->hook('shop', 'a'), $slot->hook('shop', 'b'),
              "p1\tx\t1\t1\t\\\\x00\n")->ship;
$t->wait_for(sub { $slot->stored }, 'a second attempt', 20);
is($t->sql('select losers from usher.journal'), 1, 'losers are counted once');
is($t->sql('select count(*) from usher.hook'), 2, 'each hook is one row');
is_deeply([ grep { !/quarantine/ } @{ $t->ctl('journal verify')->{problems} } ],
          [], 'and the journal adds up');

done_testing();
