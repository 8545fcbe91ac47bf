# Sums of many amounts, or by a rate that is absurd, are shown all the same.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

$t->ctl('org create name=acme');
$t->ctl('cost', 'import', 'org=acme', 'source=ads',
        "csv=day,amount,currency,id\n" . join '',
        map { "2026-01-01,9000000000000000.00,EUR,$_\n" } 1 .. 11);
is($t->ctl('roi show org=acme from=2026-01-01')->{cost},
   '99000000000000000.00', 'of many amounts');
is($t->ctl('cost total org=acme')->{amount}, '99000000000000000.00',
   'in all');
$t->ctl('fx', 'import', "csv=day,base,quote,rate\n"
        . "2026-01-01,EUR,GBP,999999999999.5\n");
is($t->ctl('roi show org=acme from=2026-01-01 currency=GBP')->{cost},
   '98999999999950500000000000000.00', 'by a rate');

done_testing();
