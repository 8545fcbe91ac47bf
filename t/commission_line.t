# What a partner earns by a conversion of our own program: each change books
# the difference once, as a line, in the ledger, in cost and in revenue.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);
my $hour = 0;

$t->ctl('commission rule add org=acme program=books percent=10 '
        . 'starts=2026-01-01');
$t->ctl('program update org=acme program=books hold=30');

sub said {
    my ($transaction, $status, %col) = @_;

    tell($t, 'shop', $transaction, at => day(50, ++$hour), status => $status,
         currency => 'EUR', %col);
}

sub lines { join ' ', map { $_->[0] } $t->rows(
    'select l.amount from usher.commission_line l join usher.conversion c
     on c.id = l.conversion_id where c.transaction_id = ? order by l.id',
    $_[0]) }

sub booked {
    my ($book, $transaction) = @_;

    join ', ', map { join ' ', grep { defined } @$_ } $t->rows("
        select sum(r.amount), r.currency, r.link, r.sub_id
        from usher.$book r join usher.conversion c on c.id = r.conversion_id
        where c.transaction_id = ? group by 2, 3, 4
        having sum(r.amount) <> 0 order by 2, 3, 4", $transaction);
}

sub owed { $t->sql("select string_agg(name || ' ' || balance, ', ' order by
                    name) from usher.account_balance where kind = 'liability'
                    and balance <> 0") // '' }

my %a = (click_id => click($link{a}, day(49)));

# a life

said('t1', 'pending', sale_amount => '20', %a);
is(lines('t1'), '', 'pending earns nothing');
said('t1', 'sale', sale_amount => '20');
is(lines('t1'), '200', 'approved does');
is(owed(), 'partner:ann -200', 'it is owed');
is(booked('cost', 't1'), '200 EUR go.acme.example/a', 'it is a cost');
is(booked('revenue', 't1'), '2000 EUR go.acme.example/a',
   'and the sale is revenue');
said('t1', 'sale', sale_amount => '20.00');
is(lines('t1'), '200', 'said again it is not');
said('t1', 'sale', sale_amount => '25');
is(lines('t1'), '200 50', 'of another amount it is the difference');
said('t1', 'rejected');
is(lines('t1'), '200 50 -250', 'rejected is taken back');
is(join('', owed(), booked('cost', 't1'), booked('revenue', 't1')), '',
   'everywhere');
said('t1', 'sale');
said('t1', 'refund');
is(lines('t1'), '200 50 -250 250 -250', 'approved again, and reversed');
said('t1', 'approved', sale_amount => '7,5');
is(lines('t1'), '200 50 -250 250 -250', 'what cannot be read earns nothing');

# late, and handled again

tell($t, 'shop', 't1', at => day(49), status => 'sale', sale_amount => '99');
tell($t, 'shop', 't2', at => day(51), status => 'refund', %a);
tell($t, 'shop', 't2', at => day(50), status => 'sale', sale_amount => '30');
is(lines('t2'), '', 'a sale that is told after its refund');
said('t3', 'sale', sale_amount => '10', %a);
my $rows = $t->sql('select count(*) from usher.commission_line');
$t->sql("select usher.todo_put('conversion', array_agg(jsonb_build_object(
             'received_at', received_at, 'postback_id', postback_id,
             'transaction_id', transaction_id,
             'digest', encode(digest, 'hex')))),
         usher.todo_put('commission', array(select
             jsonb_build_object('conversion', id) from usher.conversion))
         from usher.conversion_event");
react($t);
is($t->sql('select count(*) from usher.commission_line'), $rows,
   'what is late or handled again books nothing');

# when it may be paid: what is taken back, with what it takes back

is_deeply([ $t->rows("select l.amount, l.payable_at - h.at
                      from usher.commission_line l
                      join usher.conversion_change h on h.id = l.change_id
                      where l.amount > 0 and amount <> 100 order by l.id") ],
          [ map { [ $_, '30 days' ] } 200, 50, 250 ], 'approval and the hold');
is($t->sql('select string_agg(distinct (b.payable_at <= a.payable_at)::text,
            null) from usher.commission_line a join usher.commission_line b
            on b.id = a.id + 1 and b.amount < 0'), 'true',
   'what is taken back, with what it takes back');

# nobody's

said('n1', 'sale', sale_amount => '10');
$t->ctl('link add host=go.acme.example slug=own program=books '
        . 'url=https://x.example/');
my $own = $t->sql("select id from usher.link where slug = 'own'");
said('n2', 'sale', sale_amount => '10', click_id => click($own, day(49)));
is(lines('n1') . lines('n2'), '', 'without a partner nobody earns');
is(booked('revenue', 'n2'), '1000 EUR go.acme.example/own',
   'but the sale is one');
tell($t, 'net', 'n3', at => day(50), status => 'approved', amount => '5',
     sale_amount => '50', click_id => click($link{s}, day(49)));
is(lines('n3'), '', 'nor by what a network reports');
is(booked('revenue', 'n3'), '500 EUR go.acme.example/s',
   'of which the commission is revenue');

# a browser's click gives way: one partner's line is taken back

tell($t, 'pixel', 'p1', at => day(50), sale_amount => '40', %a);
said('p1', 'sale', sale_amount => '40');
is(owed(), 'partner:ann -500', 'who a browser named');
said('p1', 'sale', sale_amount => '50',
     click_id => click($link{b}, day(49)));
is(owed(), 'partner:ann -100, partner:bob -500', 'is not, who the shop names');
is(booked('cost', 'p1'), '500 EUR go.acme.example/b', 'as the cost');

# another currency: the rate of the sale's day, as at its first line

said('f1', 'sale', sale_amount => '100', %a);
eval { said('f1', 'sale', sale_amount => '80', currency => 'USD') };
is(lines('f1'), '1000', 'without a rate it stays');
is($t->sql("select error from usher.todo"), 'there is no rate from USD to EUR '
   . 'on 2026-02-20, nor in the 7 days before', 'and waits for one');
$t->ctl('fx', 'import', "csv=day,base,quote,rate\n2026-02-20,EUR,USD,1.25\n");
react($t);
is(lines('f1'), '1000 -360', 'which is there');
$t->ctl('fx', 'import', "csv=day,base,quote,rate\n2026-02-20,EUR,USD,2\n");
said('f1', 'sale', sale_amount => '100', currency => 'USD');
is(lines('f1'), '1000 -360 160', 'and stays as it was');
is(booked('revenue', 'f1'), '10000 USD go.acme.example/a',
   'a sale is revenue as it was');

# what is booked stays, and balances

for my $role ('postgres', 'usher_owner') {
    $t->sql("set role $role");
    $t->sql('set client_min_messages = warning');

    for my $sql ('update usher.commission_line set amount = 1',
                 'delete from usher.commission_line',
                 'truncate usher.commission_line',
                 'update usher.commission_rule set rate = 1',
                 'delete from usher.commission_rule')
    {
        eval { $t->sql($sql) };
        like($@, qr/are never changed/, "$role: no $sql");
    }
}

is($t->sql('select count(*) from (select entry_id, currency from
            usher.ledger_posting group by 1, 2 having sum(amount) <> 0) x'), 0,
   'the ledger balances');
is(owed() =~ s/\D//gr, '900500', 'what is owed at last');
like($t->ctl_fails('cost drop org=acme source=commission'),
     qr/source="commission" cannot be/, 'nobody else writes there');

done_testing();
