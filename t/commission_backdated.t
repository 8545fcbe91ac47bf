# Rules that are added for what was told already: each place of a tier is taken
# once, and no sale falls between the rule and what was told before it.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);

sub sale { tell($t, 'shop', $_[0], at => $_[1], status => 'sale',
                sale_amount => 10, click_id => click($link{a}, $_[1] - 60),
                @_[2 .. $#_]) }

sub earned { join ' ', map { $_->[0] } $t->rows(
    'select sum(l.amount) from usher.commission_line l join usher.conversion c
     on c.id = l.conversion_id where c.transaction_id ~ ? group by c.id
     order by c.id', $_[0]) }

# tiers of a month that is past

sale("c$_", day(10, $_)) for 1 .. 4;
sale("d$_", day(40, $_)) for 1 .. 3;
$t->ctl('commission rule add org=acme program=books percent=10 by=count '
        . 'tiers=1:20,2:30 starts=2026-01-01 ends=2026-02-01');
react($t);
is(earned('^c'), '100 200 300 300', 'by count: each place of a tier once');
$t->ctl('commission rule add org=acme program=books percent=10 by=sales '
        . 'tiers=10.00:20 starts=2026-02-01 ends=2026-03-01');
react($t);
is(earned('^d'), '100 200 200', 'by sales as well');

# one that waits for a rate takes its place when it is booked

$t->ctl('commission rule add org=acme program=books percent=10 by=count '
        . 'tiers=1:20 starts=2026-03-01 ends=2026-04-01');
eval { sale('e1', day(70), currency => 'USD') };
sale('e2', day(71));
$t->ctl('fx', 'import', "csv=day,base,quote,rate\n2026-03-12,EUR,USD,1\n");
react($t);
is(earned('^e'), '200 100', 'who waits for a rate stands behind who does not');

$t->ctl('commission rule add org=acme program=books percent=10 by=count '
        . 'tiers=1:20 starts=2026-04-01 ends=2026-05-01');
sale('f1', day(100));
eval { sale('f1', day(101), currency => 'USD') };
sale('f2', day(102));
is(earned('^f'), '100 200', 'but who has his place keeps it');

# a rule from now on, and a sale of a moment after that was told before it:
# an edge's clock is ahead

sale('n1', time + 60);
$t->ctl('commission rule add org=acme program=books percent=10');
react($t);
is(earned('^n'), '100', 'what is told before the rule is there');

done_testing();
