# What happens at the same moment: of a tier each place is taken once, what a cap
# leaves is given once, and a rule for the past misses nothing.

use lib 't/lib';
use Usher::Conversion;
use Usher::Race;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);

$t->ctl('commission rule add org=acme program=books percent=10 by=count '
        . 'tiers=1:20 max_month=2.50 starts=2026-01-01');
hear($t, 'shop', "r$_", at => day(60), status => 'sale', sale_amount => 10,
     click_id => click($link{a}, day(59))) for 1, 2;
both($t, 'commit', ('select handled from usher.react(1)') x 2);
$t->sql('update usher.todo set next_at = now()');
react($t);
is($t->sql("select string_agg(amount::text, ' ' order by id)
            from usher.commission_line"), '100 150',
   'one stands before the other');

# a rule for the past, while something of it is told

hear($t, 'shop', 'r3', at => day(40), status => 'sale', sale_amount => 10,
     click_id => click($link{b}, day(39)));
$t->sql("alter table usher.commission_rule disable trigger user");
$t->sql("update usher.commission_rule set starts_at = '2026-02-15'");
$t->sql("alter table usher.commission_rule enable trigger user");
both($t, 'commit', 'select handled from usher.react(1)',
     "select api.commission_rule_add('acme', 'books', percent => '10',
             starts => '2026-01-01', ends => '2026-02-15')->>'rate'");
react($t);
is($t->sql("select sum(l.amount) from usher.commission_line l
            join usher.conversion c on c.id = l.conversion_id
            where transaction_id = 'r3'"), 100, 'takes that as well');

done_testing();
