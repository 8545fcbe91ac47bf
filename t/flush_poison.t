# Lines that PostgreSQL refuses, among lines that it takes.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });

my $slot = Usher::Slot->new($t);
my $calm = Usher::Slot->new($t);


# each is refused in another way, and by another party

my @poison = (
    $slot->requests(1, address => 'nowhere'),          # 22P02
    $slot->requests(1, status => 70000),               # 22003
    $slot->requests(1, flags => '\N'),                 # 23502
    $slot->requests(1, route => "\xff\xfe"),           # 22021
    $slot->requests(1, units => '0x10'),               # not our form
    $slot->requests(1, event_time => 'yesterday'),     # not our form
    "r1\t\\.\n",                                       # would end the COPY
    "p1\t\\.\n",                                       # the same, a part
    $slot->hook('shop', '\N'),                         # 23502, a unique kind
);
splice @{ $slot->{ids} }, -6;

my @at;

for my $line (@poison) {
    $slot->append($slot->requests(150));
    push @at, $slot->end;
    $slot->append($line);
}

$slot->append($slot->hook('shop', 'a'), $slot->requests(7));
$calm->append($calm->requests(9));
$slot->ship;
$calm->ship;

$t->wait_for(sub { $slot->stored && $calm->stored }, 'all is taken', 30);
is($slot->once, '', 'each good line is one row');
is($calm->once, '', 'as those of the other slot');
is($t->sql('select count(*) from usher.hook'), 1, 'the good hook, too');
is_deeply([ map { $_->[0] } $t->rows('select position from usher.quarantine '
                                     . 'order by 1') ], \@at,
          'the others are in quarantine, with their positions');
is_deeply([ map { $_->[0] } $t->rows("select encode(line, 'hex') from "
                                     . 'usher.quarantine order by position') ],
          [ map { unpack 'H*', $_ } @poison ], 'byte for byte');
is($t->sql("select string_agg(sqlstate, ' ' order by position) "
           . 'from usher.quarantine'),
   '22P02 22003 23502 22021 22P02 22P02 22P04 22P04 23502', 'with the reason');
is($t->sql('select sum(requests) from usher.usage_total'),
   @poison * 150 + 7 + 9, 'the sums are of the rows');
is($t->sql('select lines from usher.journal where slot = ?', $slot->id),
   @poison * 150 + 7 + 1 + @poison, 'the lines are of both');
is(scalar(() = $t->log_of('usherd') =~ /put into quarantine/g), 1,
   'said once');


# too much of it

my $mad = Usher::Slot->new($t);
$mad->append($mad->requests(100));
$mad->append($mad->requests(1, status => 99999)) for 1 .. 12;
$mad->ship;
$calm->append($calm->requests(3))->ship;

$t->wait_for(sub { $mad->state eq 'stopped' }, 'too much poison: stopped');
is($mad->position, 0, 'with nothing taken');
$t->wait_for(sub { $calm->stored }, 'the other slot goes on');
is($t->sql('select count(*) from usher.quarantine where slot = ?', $mad->id),
   0, 'nothing of it is in quarantine');


# a row that COPY takes and nobody stores: the tag does not add up

$t->sql("create function vanish() returns trigger language plpgsql as "
        . "\$\$ begin return null; end \$\$");
$t->sql('create trigger vanish before insert on usher.request for each row '
        . "when (new.uri = '/v1/things' and new.key_id = 666) "
        . 'execute function vanish()');
$calm->append($calm->requests(3), $calm->requests(1, key_id => 666),
              $calm->requests(3));
splice @{ $calm->{ids} }, -4, 1;
$calm->ship;
$t->wait_for(sub { $calm->stored }, 'a row that vanished');
is($calm->once, '', 'each good line is one row');
is($t->sql('select reason from usher.quarantine where slot = ?', $calm->id),
   'COPY did not count it', 'and the other is not lost');
is($t->sql('select lines from usher.journal where slot = ?', $calm->id),
   9 + 3 + 7, 'lines add up');

done_testing();
