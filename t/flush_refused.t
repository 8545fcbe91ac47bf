# Lines whose refusal is itself hard to store: each goes into quarantine, or
# its slot stops; none of them holds a slot up for ever.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });


# One such line among good ones, which are all the ids that it has then.

sub among {
    my (%col) = @_;

    my $slot = Usher::Slot->new($t);

    $slot->append($slot->requests(150), $slot->requests(1, %col),
                  $slot->requests(150));
    splice @{ $slot->{ids} }, 150, 1;

    return $slot->ship;
}


sub put_aside {
    my ($what, $state, %col) = @_;

    my $slot = among(%col);

    $t->wait_for(sub { $slot->stored }, "$what: the slot goes on", 20);
    is($slot->once, '', "$what: each good line is one row");
    is($t->sql('select string_agg(sqlstate, ?) from usher.quarantine '
               . 'where slot = ?', ' ', $slot->id), $state,
       "$what: it is in quarantine");

    return $slot;
}


# a time in our form that no calendar has, newer than all others

my $slot = put_aside('an impossible time', '22008',
                     event_time => '9026-13-45 10:00:00.000+00');
ok($t->sql('select last_event <= now() from usher.journal where slot = ?',
           $slot->id), 'and closes no hours');


# messages are cut to size, but not in the middle of a character

my @wide = map { ('x' x $_) . ("\xc3\xa9" x 300) } 0, 1;

put_aside("a message cut, $_", '22P02', address => $wide[$_]) for 0, 1;

my $mad = Usher::Slot->new($t);

$mad->append($mad->requests(5, address => $wide[$_])) for 0, 1, 0, 1;
$mad->ship;
$t->wait_for(sub { $mad->state eq 'stopped' },
             'too much of it: stopped, whatever the message');


# what cannot even be put aside

$t->sql("alter table usher.quarantine add constraint no_inet "
        . "check (reason not like '%inet%') not valid");
my $stuck = among(address => 'nowhere');
my $calm = Usher::Slot->new($t);
$calm->append($calm->requests(5))->ship;

$t->wait_for(sub { $stuck->state eq 'stopped' }, 'no quarantine: stopped', 20);
is($stuck->position, 0, 'with nothing taken');
like($t->sql('select reason from usher.journal where slot = ?', $stuck->id),
     qr/refused: 23514 .*no_inet/, 'with the reason');
$t->wait_for(sub { $calm->stored }, 'the other slot goes on');

$t->sql('alter table usher.quarantine drop constraint no_inet');
$t->ctl('journal', 'resume', 'slot=' . $stuck->id, 'reason=mended');
$t->wait_for(sub { $stuck->stored }, 'resumed: it goes on', 20);
is($stuck->once, '', 'each good line is one row');
is($t->sql('select count(*) from usher.quarantine where slot = ?',
           $stuck->id), 1, 'and the other is in quarantine');

done_testing();
