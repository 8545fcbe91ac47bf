# Two conversions of one partner at the same moment: of a tier each place is
# taken once, and what a cap leaves is given once.

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

done_testing();
