# A live slot that nobody announces any more is told, for nothing of it can
# come: PostgreSQL is older than what edges retain, or the disk is gone.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush',
           conf => { usherd => { batch_age_ms => 20, lease_s => 2 } });

my $slot = Usher::Slot->new($t);
my $other = Usher::Slot->new($t);

$_->append($_->requests(5))->ship for $slot, $other;
$t->wait_for(sub { $slot->stored && $other->stored }, 'a beginning');


# An hour passes without usherd, and the lease of whoever tells with it.

sub later {
    $t->stop('usherd') if $t->running('usherd');
    $t->sql("update usher.journal set announced_at "
            . "= announced_at - interval '61 minutes'");
    $t->sql("delete from usher.lease where name = 'silent'");
}

sub problems { join '; ', @{ $t->ctl('journal verify')->{problems} } }


later();
is(problems(), '', 'usherd was stopped: that is no loss');

# the backup has a slot that its edge has retired since

$slot->redis->hdel('usher:slots', $slot->id);
$t->start('usherd');
$t->wait_for(sub { $t->log_of('usherd') =~ /\[alert\].*1 live slots were not/ },
             'a silent slot is told', 20);
like(problems(), qr/^1 live slots were not announced for an hour$/,
     'it is a problem');
is_deeply($t->ctl('journal verify')->{silent}, [ $slot->id ], 'of this slot');
like($t->ctl_fails('journal end slot=' . $other->id . ' reason=x'),
     qr/the slot is live, announced at/, 'the other cannot be given up');
like($t->ctl_fails('journal end slot=' . $slot->id . ' reason='),
     qr/needs a reason/, 'nor this without a reason');

# it comes back

$slot->register;
later();
$t->start('usherd');
$t->wait_for(sub { problems() eq '' }, 'announced again: nothing is wrong', 20);

# it does not

$slot->redis->hdel('usher:slots', $slot->id);
later();
$t->start('usherd');
$t->wait_for(sub { problems() =~ /announced/ }, 'silent again', 20);
$t->ctl('journal end slot=' . $slot->id . ' reason=restored');
is(problems(), '1 gaps, 0 bytes', 'given up: a gap, of unknown length');
is_deeply([ map { [ @$_{qw(slot from to reason)} ] }
            @{ $t->ctl('journal gaps') } ],
          [ [ $slot->id, $slot->end, undef, 'restored' ] ], 'on record');

# and yet it does

$slot->append($slot->requests(3))->ship;
$slot->register;
$t->wait_for(sub { $slot->stored }, 'it is taken when it comes after all');
is($slot->once . $other->once, '', 'each event is one row');
is($slot->state, 'live', 'and the slot lives');

done_testing();
