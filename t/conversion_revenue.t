# What a network reports as approved is earned, and what it takes back is not:
# in the revenue and in the ledger alike, once for each change.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);
my $hour = 0;

sub said {
    my ($transaction, $status, %col) = @_;

    tell($t, 'net', $transaction, at => day(50, ++$hour), currency => 'EUR',
         status => $status, %col);
}

# What is booked of a transaction, by what it belongs to.

sub booked {
    join ', ', map { join ' ', grep { defined } @$_ } $t->rows(q{
        select sum(r.amount), r.currency, r.campaign, r.link, r.sub_id,
               r.country
        from usher.revenue r join usher.conversion c on c.id = r.conversion_id
        where c.transaction_id = ?
        group by 2, 3, 4, 5, 6 having sum(r.amount) <> 0
        order by 2, 3, 4, 5 }, $_[0]);
}

sub balance { $t->sql("select string_agg(balance || ' ' || currency, ', '
                       order by currency) from usher.account_balance
                       where kind = ? and balance <> 0", $_[0]) // '' }

said('t1', 'pending', amount => '10');
is(booked('t1'), '', 'pending is not earned');
said('t1', 'approved', amount => '12');
is(booked('t1'), '1200 EUR', 'approved is');
said('t1', 'approved', amount => '12.00');
said('t1', 'approved', amount => '11');
is(booked('t1'), '1100 EUR', 'what the network says now');
is_deeply([ map { $_->[0] } $t->rows('select amount from usher.revenue
                                      order by id') ], [ 1200, -100 ],
          'each change once, what is past stays');
said('t1', 'reversed', amount => '-11');
is(booked('t1'), '', 'reversed is not');
is(balance('asset'), '', 'and the network owes nothing');
said('t1', 'approved', amount => '9');
said('t1', 'approved', amount => '9,5');
is(booked('t1'), '', 'nor what cannot be read');
said('t1', 'approved', amount => '8', currency => 'USD');
is(booked('t1'), '800 USD', 'another currency');
said('t1', 'approved', amount => '7');
is(booked('t1'), '700 EUR', 'and back');
is(balance('asset'), '700 EUR', 'the network owes it');
is(balance('revenue'), '-700 EUR', 'and it is earned');
is($t->sql("select string_agg(distinct kind || ' ' || name, ', ')
            from usher.account"), 'asset network:net, revenue commissions',
   'by these names');

# late, repeated, handled again

my $rows = $t->sql('select count(*) from usher.revenue');
tell($t, 'net', 't1', at => day(49), status => 'approved', amount => '70',
     currency => 'EUR');
$t->sql("select usher.todo_put('conversion', array_agg(jsonb_build_object(
             'received_at', received_at, 'postback_id', postback_id,
             'transaction_id', transaction_id,
             'digest', encode(digest, 'hex'))))
         from usher.conversion_event");
react($t);
is($t->sql('select count(*) from usher.revenue'), $rows,
   'what is late or handled again books nothing');

# by day of the word

tell($t, 'net', 't2', at => day(60), status => 'approved', amount => '5');
tell($t, 'net', 't2', at => day(90), status => 'refund');
is_deeply([ $t->rows("select day, r.amount from usher.revenue r
                      join usher.conversion c on c.id = r.conversion_id
                      where transaction_id = 't2' order by r.id") ],
          [ [ '2026-03-02', 500 ], [ '2026-04-01', -500 ] ],
          'a day that is past does not change');

# what it belongs to; a click's row that comes later moves nothing already
# booked twice

my $click = click($link{s}, day(49));

tell($t, 'net', 't3', at => day(50), status => 'approved', amount => '5',
     click_id => $click);
is(booked('t3'), '500 EUR spring go.acme.example/s', 'its link and campaign');
$t->sql("select usher.partition_ensure('click', '2026-02-19')");
$t->sql("insert into usher.click values ('2026-02-19 12:01+00',
         '2026-02-19 12:00+00', $link{s}, 0, 0, 1, '$click', 'e', 'h', 's',
         'DE', '', '', '', '', E'mail\\t7', '', '', '', '', '', null, 302, 0)");
tell($t, 'net', 't3', at => day(51), status => 'approved', amount => '6');
is(booked('t3'), '600 EUR spring go.acme.example/s mail7 DE',
   'as its click, when that is known');

tell($t, 'net', 't4', at => day(50), status => 'approved', amount => '5');
is(booked('t4'), '500 EUR', 'of no link');
tell($t, 'net', 't4', at => day(52), status => 'approved', amount => '5',
     click_id => $click);
is(booked('t4'), '500 EUR spring go.acme.example/s mail7 DE',
   'until it is bound');
is(balance('asset'), '1800 EUR', 'which changes nothing of what is owed');

# our own program: what was sold is revenue, what it pays for it is not

tell($t, 'shop', 't5', at => day(50), status => 'sale', amount => '5',
     sale_amount => '50', click_id => click($link{a}, day(49)));
is(booked('t5'), '5000 EUR go.acme.example/a', 'what our own shop sold');
is($t->sql("select sum(amount) from usher.revenue"), 6800, 'in the end');
is(balance('asset'), '1800 EUR', 'which no network owes');
$t->ctl('fx', 'import', "csv=day,base,quote,rate\n2026-02-20,EUR,USD,1\n");
is($t->ctl('revenue total org=acme currency=EUR')->{amount}, '68.00',
   'as people see it');

# nobody else writes there

like($t->ctl_fails('revenue', 'import', 'org=acme', 'source=conversion',
                   "csv=day,amount,currency\n2026-01-02,1,EUR"),
     qr/usherctl conversion import" corrects/, 'no import');
like($t->ctl_fails('revenue drop org=acme source=conversion'),
     qr/source="conversion" cannot be/, 'and no drop');

done_testing();
