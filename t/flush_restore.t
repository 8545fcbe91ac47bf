# PostgreSQL restored to an earlier moment, with and without the slot's row.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });

my $slot = Usher::Slot->new($t);

$slot->append($slot->requests(5))->ship;
$t->wait_for(sub { $slot->stored }, 'before the backup');
my $backup = $slot->end;


# the backup is a copy of the stopped cluster

$t->stop('postgres');
system('cp', '-a', "$t->{dir}/pgdata", "$t->{dir}/backup") == 0 or die;
$t->start('postgres');

$slot->append($slot->requests(5))->ship;
my $late = Usher::Slot->new($t);
$late->append($late->requests(4))->ship;
$t->wait_for(sub { $slot->stored && $late->stored }, 'after it', 20);
$t->wait_for(sub { $slot->ack_is($slot->end, 'o') }, 'acknowledged');

$t->stop('postgres');
system('rm', '-rf', "$t->{dir}/pgdata");
system('mv', "$t->{dir}/backup", "$t->{dir}/pgdata") == 0 or die;
$t->start('postgres');

is($slot->position, $backup, 'PostgreSQL stands where it stood');
$t->wait_for(sub { my ($p) = $slot->ack; defined $p && $p == $backup },
             'the edge is told the lower position', 20);
$t->wait_for(sub { my ($p) = $late->ack; defined $p && $p == 0 },
             'as for a slot that the backup does not know');

# what comes next leaves a gap: the edge is asked for what lies between

$slot->append($slot->requests(3))->ship;
$late->append($late->requests(3))->ship;
$t->wait_for(sub { $slot->ack_is($backup, 'r') && $late->ack_is(0, 'r') },
             'and is asked to send again');
$slot->takeup($backup);
$late->takeup(0);
$t->wait_for(sub { $slot->stored && $late->stored }, 'it heals');
is($slot->once . $late->once, '', 'each event is one row');
is($t->sql('select sum(requests) from usher.usage_total'), 13 + 7,
   'and summed once');
like($t->log_of('usherd'), qr/PostgreSQL was restored/, 'the log says so');

done_testing();
