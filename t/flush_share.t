# Several flush processes and hosts share the slots; one that dies is relieved.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

no warnings 'portable';


my $t = Usher::Test->new;
my %conf = (usherd => { batch_age_ms => 20, lease_s => 2 });

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush',
           conf => { usherd => { %{ $conf{usherd} }, flush_processes => 2 } });
$t->usherd(name => 'usherd2', duties => 'flush', conf => \%conf);

my @slots = map { Usher::Slot->new($t) } 1 .. 6;


sub owners {
    return map { $_->[0] } $t->rows('select count(*) from usher.lease where '
        . "name like 'slot:%' and owner <> '' and until > now() "
        . 'group by owner order by 1');
}


sub ship_all {
    my ($what) = @_;

    for my $slot (@slots) {
        $slot->append($slot->requests(5))->ship;
        $slot->append($slot->requests(5))->ship;
    }

    $t->wait_for(sub { !grep { !$_->stored } @slots }, "$what: stored", 20);
    is(join('', map { $_->once } @slots), '',
       "$what: each event is one row");
}


$t->wait_for(sub { join(' ', owners()) eq '2 2 2' },
             'three processes have two slots each', 20);
ship_all('shared');

$t->kill9('usherd2');
ship_all('one killed');
$t->wait_for(sub { join(' ', owners()) eq '3 3' },
             'the others have its slots', 20);

$t->start('usherd2');
$t->wait_for(sub { join(' ', owners()) eq '2 2 2' },
             'and give them back', 20);
ship_all('three again');


# the leases have kept them apart, but where one had ended under its holder

cmp_ok(scalar(() = "@{[ map { $t->log_of($_) } qw(usherd usherd2) ]}"
              =~ /moved by another flush/g), '<', 4, 'each slot has one flush');


# two that believe to hold the same slot are stopped by the position

my ($slot) = @slots;
my $db = DBI->connect('dbi:Pg:' . $t->dsn =~ tr/ /;/r, '', '',
                      { RaiseError => 1 });

$db->begin_work;
$db->do('select 1 from usher.journal where slot = ? for update', undef,
        $slot->id);
my $old = $slot->end;
$slot->append($slot->requests(3))->ship;
$t->wait_for(sub { scalar $t->sql(
    "select count(*) from pg_stat_activity where wait_event_type = 'Lock' "
    . "and query like 'WITH moved%'") }, 'one waits to move the position');

# another flush got there first, with the same bytes

my $chain = unpack 'q', pack 'Q', hex $slot->chain($slot->end);
$db->do('insert into usher.request (event_time, key_id, route, status, units, '
        . 'bytes_sent, duration_ms, org_id, request_id, node, method, host, '
        . 'uri, user_agent, referer, auth_status, limit_status, protocol, '
        . "flags) select now(), 1, '', 200, 1, 1, 1, 1, id, '', '', '', '', "
        . "'', '', '', '', '', 0 from unnest(?::text[]) id", undef,
        [ @{ $slot->{ids} }[-3 .. -1] ]);
$db->do('update usher.journal set position = ?, chain = ?, lines = lines + 3 '
        . 'where slot = ? and position = ?', undef, $slot->end, $chain,
        $slot->id, $old);
$db->commit;

$t->wait_for(sub { $slot->ack_is($slot->end, 'o') }, 'both have finished');
is($slot->once, '', 'each event is one row');
ship_all('after a conflict');
like($t->log_of('usherd') . $t->log_of('usherd2'),
     qr/moved by another flush/, 'the log says so');


# the operator's hand: chain unknown

$slot->append($slot->requests(2));
splice @{ $slot->{ids} }, -2;
$t->sql('update usher.journal set position = ?, chain = 0, rechain = true '
        . 'where slot = ?', $slot->end, $slot->id);
$slot->{shipped} = $slot->end;
$slot->append($slot->requests(2))->ship;
$t->wait_for(sub { $slot->stored }, 'after a skip the chain is taken');
is($slot->once, '', 'and events go on');
ok(!$t->sql('select rechain from usher.journal where slot = ?', $slot->id),
   'and then it is known');

done_testing();
