# A payout of two currencies, in one of which more was taken back than earned:
# nothing is owed when it is closed.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
world($t);

$t->ctl($_) for split /\n/, <<'ADD';
program create org=acme name=dollars side=own currency=USD
partner update org=acme partner=ann terms=v1 method=sepa currency=EUR
partner join org=acme partner=ann program=dollars
link add host=go.acme.example slug=ad url=https://x.example/ program=dollars partner=ann
commission rule add org=acme program=books percent=100 starts=2026-01-01
commission rule add org=acme program=dollars percent=100 starts=2026-01-01
ADD
$t->sql("insert into usher.postback (org_id, name, program_id, endpoint)
         select org_id, 'usd', id, 'https://a.example/p' from usher.program
         where name = 'dollars'");
my %link = map { $_->[0] => $_->[1] } $t->rows('select slug, id from usher.link');

$t->ctl('fx', 'import', "csv=day,base,quote,rate\n"
        . $t->sql("select (now() at time zone 'UTC')::date")
        . ",EUR,USD,1.25\n");

sub owed { $t->sql("select string_agg(balance || ' ' || currency, ', '
                                      order by currency)
                    from usher.account_balance
                    where kind = 'liability' and balance <> 0") // '' }

sub pay {
    my $batch = $t->ctl('payout create org=acme');

    $t->ctl("payout close org=acme batch=$batch->{batch}");
    return $batch->{total};
}

tell($t, 'usd', 'd1', at => day(60), status => 'sale', sale_amount => 10,
     click_id => click($link{ad}, day(59)));
is(pay(), '8.00 EUR', 'a sum of another currency');
tell($t, 'usd', 'd1', at => day(61), status => 'refund');
tell($t, 'shop', 'e1', at => day(61), status => 'sale', sale_amount => 20,
     click_id => click($link{a}, day(59)));
is(owed(), '-2000 EUR, 1000 USD', 'of one too much was paid');
is(pay(), '12.00 EUR', 'which is taken off the other');
is(owed(), '', 'and nothing is owed');

done_testing();
