# Batches: who is paid and who is left out and why; what is taken back later;
# cancelled and closed ones; what a bank is sent.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);
my $n = 0;

$t->ctl($_) for split /\n/, <<'END';
commission rule add org=acme program=books percent=10 starts=2026-01-01
program create org=acme name=dollars side=own currency=USD
commission rule add org=acme program=dollars percent=10 starts=2026-01-01
partner create org=acme name=cat terms=v1 method=paypal
partner create org=acme name=dan terms=v1 method=sepa currency=GBP minimum=10.00
partner join org=acme partner=cat program=books
partner join org=acme partner=dan program=books
partner join org=acme partner=cat program=dollars
partner join org=acme partner=dan program=dollars
link add host=go.acme.example slug=c url=https://x.example/ program=books partner=cat
link add host=go.acme.example slug=d url=https://x.example/ program=books partner=dan
link add host=go.acme.example slug=dd url=https://x.example/ program=dollars partner=dan
link add host=go.acme.example slug=cd url=https://x.example/ program=dollars partner=cat
END
$t->sql("insert into usher.postback (org_id, name, program_id, endpoint)
         select org_id, 'usd', id, 'https://a.example/p' from usher.program
         where name = 'dollars'");
%link = map { $_->[0] => $_->[1] } $t->rows('select slug, id from usher.link');

sub sale {
    my ($slug, $sale, %col) = @_;

    tell($t, length $slug > 1 ? 'usd' : 'shop', $col{name} // 't' . ++$n,
         at => day(60, ++$n / 100), status => 'sale', sale_amount => $sale,
         click_id => click($link{$slug}, day(59)), %col{grep { exists $col{$_} }
                                                        qw(status at)});
}

sub paid { join ', ', map { "$_->{partner} $_->{amount} $_->{currency}" }
           @{ $_[0]{payouts} } }

sub left { join ', ', map { "$_->{partner} $_->{reason} "
                            . ($_->{amount} // '?') } @{ $_[0]{left} } }

sub batch { $t->ctl('payout create org=acme ' . ($_[0] // '')) }

# who cannot be paid

sale('a', 100, name => 'a1');
is(left(batch()), 'ann terms 10.00', 'who accepted no terms');
is(batch()->{batch}, undef, 'and nobody else: there is no batch');
$t->ctl('partner update org=acme partner=ann terms=v1');
my $none = batch();
is(left($none), 'ann method 10.00', 'who has no method');
like($none->{left}[0]{why}, qr/partner update method=/, 'and what to do');
$t->ctl('partner update org=acme partner=ann method=sepa minimum=10.01 '
        . 'currency=EUR');
is(left(batch()), 'ann minimum 10.00', 'who is below his minimum');
$t->ctl('partner update org=acme partner=ann minimum=10');
$t->ctl('partner disable org=acme partner=ann');
is(left(batch()), 'ann disabled 10.00', 'who is disabled');
$t->ctl('partner enable org=acme partner=ann');
sale('d', 200);
sale('dd', 50);
sale('c', 70);
$t->ctl('program update org=acme program=books hold=366');
tell($t, 'shop', 'held', at => time - 60, status => 'sale', sale_amount => 30,
     click_id => click($link{c}, time - 3600));
$t->ctl('program update org=acme program=books hold=0');

my $first = batch();

is(paid($first), 'ann 10.00 EUR, cat 7.00 EUR', 'who can be is');
is(left($first), 'cat hold 3.00, dan rate ?', 'not what is held, nor without '
   . 'a rate');
like($first->{left}[1]{why}, qr/rate from EUR to GBP on .*fx import/,
     'which is said');
is_deeply($t->ctl("payout show org=acme batch=$first->{batch}"), $first,
          'as it is shown later');
is(paid(batch('partner=ann')), '', 'nothing is taken twice');

# cancelled

$t->ctl("payout cancel org=acme batch=$first->{batch} reason=typo");
my $today = $t->sql("select (now() at time zone 'UTC')::date");
$t->ctl('fx', 'import', "csv=day,base,quote,rate\n$today,EUR,GBP,0.8503\n"
        . "$today,EUR,USD,1.1\n");

my $second = batch();

is(paid($second), 'ann 10.00 EUR, cat 7.00 EUR, dan 20.87 GBP',
   'what is cancelled is taken by the next; sums of two currencies are one');
is($second->{payouts}[2]{rates}, 'EUR 0.8503, USD 0.773', 'by these rates');
is($second->{total}, '17.00 EUR, 20.87 GBP', 'in all');
is(paid($t->ctl("payout show org=acme batch=$first->{batch}")), paid($first),
   'what was cancelled is still shown');
like($t->ctl_fails("payout $_ org=acme batch=$first->{batch} reason=x"),
     qr/batch \d+ is cancelled\nhint: /, "no $_ of it") for qw(close cancel);
like($t->ctl_fails("payout export org=acme batch=$first->{batch}"),
     qr/is cancelled/, 'nor a file');

# the file

$t->ctl('partner', 'update', 'org=acme', 'partner=ann',
        'email==cmd|"x",y@example.com', 'tax_id=DE 1/2');
my (undef, $csv) = $t->ctl_run("payout export org=acme batch=$second->{batch}");
my @csv = split /^/, $csv;
is($csv[0], "batch,payout,partner,kind,email,tax_id,method,amount,currency,"
   . "lines\r\n", 'a file');
like($csv[1], qr/^$second->{batch},\d+,ann,company,
                 "'=cmd\|""x"",y\@example.com",DE\ 1\/2,sepa,10\.00,EUR,1\r\n$/x,
     'which no spreadsheet takes for a formula');
is(scalar @csv, 4, 'of all payouts');

# closed

sub balance { $t->sql("select string_agg(name || ' ' || balance || ' '
    || currency, ', ' order by name, currency) from usher.account_balance
    where kind ~ ? and balance <> 0", $_[0]) // '' }

is(balance('liability'), 'partner:ann -1000 EUR, partner:cat -1000 EUR, '
   . 'partner:dan -2000 EUR, partner:dan -500 USD', 'owed until it is paid');
$t->ctl("payout close org=acme batch=$second->{batch} reason=B-77");
is(balance('liability'), 'partner:cat -300 EUR', 'then no more');
is(balance('asset'), 'bank -1700 EUR, bank -2087 GBP, exchange -2000 EUR, '
   . 'exchange 2087 GBP, exchange -500 USD', 'it has left the bank');
is(() = $t->rows('select from usher.ledger_posting group by entry_id, currency
                  having sum(amount) <> 0'), 0, 'and balances');
like($t->ctl_fails("payout $_ org=acme batch=$second->{batch} reason=x"),
     qr/is closed\nhint: What is closed never/, "no $_ after that")
    for qw(close cancel);

# what is taken back is in the next, or waits for what is earned

sale('a', 100, name => 'a1', status => 'refund', at => day(70));
is(left(batch()), 'ann negative -10.00, cat hold 3.00', 'more than is owed');
sale('a', 90);
is(left(batch()), 'ann negative -1.00, cat hold 3.00', 'it is carried forward');
sale('a', 300);
my $third = batch();
is(paid($third), 'ann 29.00 EUR', 'and taken off');
is($third->{payouts}[0]{lines}, 3, 'as a line');
is(batch()->{batch}, undef, 'once');
like($t->ctl_fails('payout create org=acme until=2100-01-01'),
     qr/until=.*cannot be/, 'what is to come is not payable');
sale('a', 200, at => day(60));
is(batch('until=2026-02-01')->{batch}, undef, 'until: nothing then');

# nothing of what is closed changes, whoever tries

my $line = $t->sql('select min(id) from usher.commission_line
                    where payout_id is not null');
my $open = $t->sql('select id from usher.payout where batch_id = ?',
                   $third->{batch});
my $of = "where batch_id = $second->{batch}";

for my $role ('postgres', 'usher_owner') {
    $t->sql("set role $role");
    $t->sql('set client_min_messages = warning');

    for my $sql (
        "update usher.payout_batch set state = 'open', ended_at = null
         where id = $second->{batch}",
        "delete from usher.payout_batch where id = $second->{batch}",
        "update usher.payout set amount = 1 $of",
        "delete from usher.payout $of",
        "insert into usher.payout (batch_id, org_id, partner_id, currency,
             amount, method, lines) select batch_id, org_id, partner_id, 'JPY',
             1, 'x', 1 from usher.payout $of",
        "update usher.payout_part set rate = 1 $of",
        "delete from usher.payout_part $of", "delete from usher.payout_left",
        "update usher.payout_left set help = ''",
        map({ "truncate usher.$_ cascade" }
            qw(payout_batch payout payout_part payout_left commission_line)),
        "update usher.commission_line set payout_id = null where id = $line",
        "update usher.commission_line set amount = 1 where payout_id = $open",
        "update usher.commission_line set payout_id = (select min(id) from
             usher.payout $of and partner_id = 1) where payout_id is null
             and partner_id = 1",
        "insert into usher.commission_line (org_id, conversion_id, change_id,
             partner_id, link_id, rule_id, amount, currency, payable_at, month,
             number, behind, payout_id) select org_id, conversion_id,
             change_id - 1, partner_id, link_id, rule_id, amount, currency,
             payable_at, month, number, behind, payout_id
             from usher.commission_line where id = $line")
    {
        eval { $t->sql($sql) };
        like($@, qr/never changed|taken by a batch when/,
             "$role: no " . $sql =~ s/\s+/ /gr);
    }
}

done_testing();
