# Two sessions that pay at the same moment: no line is taken twice, and a batch
# ends once.

use lib 't/lib';
use Usher::Conversion;
use Usher::Race;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);
my $n = 0;

$t->ctl('commission rule add org=acme program=books percent=10 '
        . 'starts=2026-01-01');
$t->ctl("partner update org=acme partner=$_ terms=v1 method=sepa")
    for qw(ann bob);

sub sale { tell($t, 'shop', 't' . ++$n, at => day(60), status => 'sale',
                sale_amount => 10, click_id => click($link{$_[0]}, day(59))) }

my $create = "select api.payout_create('acme')->>'total'";
my @ends = ("select api.payout_close('acme', %s)->>'state'",
            "select api.payout_cancel('acme', %s, 'x')->>'state'");

sub taken { $t->sql("select count(*) || ' ' || count(payout_id)
                     from usher.commission_line") }

sale('a');
sale('b');
my ($one, $two) = both($t, 'commit', $create, $create);
is($one, '2.00 EUR', 'the first takes all');
is($two, undef, 'the second, which has waited, nothing');
is(taken(), '2 2', 'each line once');

sale('a');
($one, $two) = both($t, 'rollback', $create, $create);
is($two, '1.00 EUR', 'where the first gives up, the second takes it');
is(taken(), '3 3', 'once');

sale($_) for qw(a b);
($one, $two) = both($t, 'commit', $create =~ s/'acme'/'acme', 'ann'/r, $create);
is("$one $two", '1.00 EUR 1.00 EUR', 'what the first does not want');

# a partner who changes meanwhile

sale('a');
($one, $two) = both($t, 'commit', $create,
    "select api.partner_update('acme', 'ann', currency => 'USD')->>'currency'");
is("$one $two", '1.00 EUR USD', 'is paid as he was');
$t->ctl('partner', 'update', 'org=acme', 'partner=ann', 'currency=');

# how a batch ends

for my $first (@ends) {
    for my $second (@ends) {
        sale('a');
        $t->sql($create);
        my $id = $t->sql('select max(id) from usher.payout_batch');
        my ($state, $then) = both($t, 'commit', sprintf($first, $id),
                                  sprintf($second, $id));
        is($then, 'US409', "it is $state, once");
        $t->sql("select api.payout_close('acme', (api.payout_create('acme')
                                                  ->>'batch')::bigint)")
            if $state eq 'cancelled';
    }
}

is($t->sql("select count(*) from usher.ledger_entry where what ~ '^payout'"), 4,
   'what is closed is posted once');

done_testing();
