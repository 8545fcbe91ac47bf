# Which rule holds for a conversion, and what it gives: the most specific one
# of then, tiers, renewals, caps, rounded once, half to even.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
world($t);

my ($k, $n, $hour) = (0, 0, 0);
my ($p, %link);


# A new program with these rules; links of ann and bob, with and without a
# product and a campaign.

sub program {
    my (@rules) = @_;
    my $currency = $rules[0] =~ /^[A-Z]{3}$/ ? shift @rules : 'EUR';

    $p = 'p' . ++$k;
    $t->ctl("program create org=acme name=$p side=own currency=$currency");
    $t->ctl("product create org=acme program=$p name=atlas");
    $t->ctl("partner join org=acme partner=$_ program=$p") for qw(ann bob);
    $t->ctl("link add host=go.acme.example slug=$p$_->[0] program=$p "
            . "url=https://x.example/ partner=$_->[1]")
        for [ a => 'ann' ], [ b => 'bob' ],
            [ ap => 'ann product=atlas' ], [ ac => 'ann campaign=spring' ],
            [ bpc => 'bob product=atlas campaign=spring' ];
    $t->sql("insert into usher.postback (org_id, name, program_id, endpoint)
             select org_id, name, id, 'https://a.example/p'
             from usher.program where name = ?", $p);
    %link = map { $_->[0] =~ s/^$p//r => $_->[1] }
            $t->rows('select slug, id from usher.link where slug like ?',
                     "$p%");
    rule($_) for @rules;
}

sub rule { $t->ctl('commission', 'rule', 'add', 'org=acme', "program=$p",
                   ($_[0] =~ /starts=/ ? () : 'starts=2026-01-01'),
                   map { tr/+/ /r } $_[0] =~ /(\S+)/g) }

# What a sale earns, in minor units.

sub earns {
    my ($slug, $sale, %col) = @_;

    my $transaction = delete $col{name} // 't' . ++$n;
    my $at = delete $col{at} // day(20, ++$hour / 100);

    tell($t, $p, $transaction, at => $at, status => 'sale',
         sale_amount => $sale, click_id => click($link{$slug}, $at - 60), %col);
    return $t->sql('select coalesce(sum(l.amount), 0)
        from usher.commission_line l
        join usher.conversion c on c.id = l.conversion_id
        join usher.program p on p.id = c.program_id
        where c.transaction_id = ? and p.name = ?', $transaction, $p);
}

# the choice

program('percent=1', 'percent=2 campaign=spring', 'percent=3 product=atlas',
        'percent=4 product=atlas campaign=spring', 'percent=5 partner=ann');
is(join(' ', map { earns($_, '100') } qw(a ap ac b bpc)),
   '500 500 500 100 400', 'partner before product before campaign');
rule('percent=6 partner=ann product=atlas');
is(earns('ap', '100'), 600, 'and both before one');

program('percent=10 ends=2026-01-15', 'percent=20 starts=2026-01-15');
is(join(' ', map { earns('a', '10', at => day($_)) } 13, 14, 15),
   '100 200 200', 'the rule of then');
is(earns('a', '10', name => 'late', at => day(13, 23)), 100, 'told later too');
is(earns('a', '20', name => 'late', at => day(16)), 200,
   'an amendment stays with it');
is(earns('a', '10', name => 'early', at => day(16)), 200, 'one of after it');
tell($t, $p, 'early', at => day(14) - 86400, status => 'pending');
is(earns('a', '20', name => 'early', at => day(17)), 400,
   'nor does it move when it turns out to have been earlier');
my ($rule) = grep { !$_->{ends} } @{ $t->ctl("commission rule list org=acme "
                                             . "program=$p") };
$t->ctl("commission rule end org=acme rule=$rule->{rule}");
is(earns('a', '10', at => time + 60), 0, 'one that has ended is none');
is(earns('a', '30', name => 'late', at => day(17)), 300,
   'but for what was booked');

program('percent=10 starts=2026-02-01');
is(earns('a', '10', name => 'missed'), 0, 'before any rule');
rule('percent=5 starts=2026-01-01 ends=2026-02-01');
react($t);
is(earns('a', '10', name => 'missed', at => day(21)), 50,
   'one that is added for then takes it');

# amounts

program('percent=2.5');
is(join(' ', map { earns('a', $_) } 1, '0.20', '0.60', '1.00', '1.40', '3.00'),
   '2 0 2 2 4 8', 'rounded once, half to even');
program('fixed=2.50');
is(earns('a', '7') . earns('a', ''), '250250', 'for each the same');
program('percent=0', 'percent=100 partner=bob');
is(earns('a', '7') . ' ' . earns('b', '7'), '0 700', 'nothing, and all');
program('JPY', 'fixed=150', 'percent=10 partner=bob');
is(earns('a', '7') . ' ' . earns('b', '999', currency => 'JPY'), '150 100',
   'where there are no decimals');

# tiers: each conversion where it stands in its month, and no other moves

program('percent=10 by=count tiers=2:20+3:30');
is(join(' ', map { earns('a', '10', name => "c$_") } 1 .. 4),
   '100 100 200 300', 'by count');
is(earns('b', '10'), 100, 'each partner');
is(earns('a', '10', at => day(40)), 100, 'each month');
is(earns('a', '10', name => 'c1', status => 'refund', at => day(22)), 0,
   'one is taken back');
is(earns('a', '10'), 300, 'which leaves its place to the next');
is(earns('a', '20', name => 'c1', at => day(23)), 200,
   'and comes back to where it was');

program('percent=10 by=sales tiers=100.00:20+150:40');
is(join(' ', map { earns('a', $_) } 90, 20, 60, 5), '900 300 1600 200',
   'by sales: of each what lies in a tier');
program('fixed=1 by=sales tiers=100:2');
is(join(' ', map { earns('a', 60) } 1 .. 3), '100 100 200', 'of fixed amounts');

# renewals

program('percent=50 renewals=2 renewal=10');
is(join(' ', map { earns('a', '10', customer => 'joe') } 1 .. 4),
   '500 100 100 0', 'so many are paid');
is(earns('a', '10', customer => 'jim'), 500, 'of each customer');
is(earns('a', '10', at => day(19), customer => 'joe'), 500,
   'one that was before all comes late');
is(earns('b', '10', customer => 'joe'), 500, 'of each partner');

# caps

program('percent=10 max=5 max_month=12.50');
is(join(' ', map { earns('a', $_, name => "m$_") } 40, 60, 70, 80),
   '400 500 350 0', 'of one and of a month');
is(earns('b', '60'), 500, 'of each partner');
is(earns('a', '60', at => day(40)), 500, 'each month');
earns('a', '', name => 'm60', status => 'refund', at => day(22));
is(earns('a', '20'), 200, 'what becomes free is given to the next');
is(earns('a', '50', name => 'm40', at => day(23)), 500, 'or to who grows');
is(earns('a', '60', name => 'm60', at => day(24)), 200,
   'and never more than that');
is($t->sql("select sum(l.amount) from usher.commission_line l
            join usher.commission_rule r on r.id = l.rule_id
            join usher.program p on p.id = r.program_id
            join usher.partner q on q.id = l.partner_id
            where p.name = ? and q.name = 'ann' and l.month = '2026-01-01'",
           $p),
   1250, 'in all');

# an amount that is absurd in another currency stops nobody

$t->ctl('fx', 'import', "csv=day,base,quote,rate\n"
        . "2026-01-21,KWD,EUR,999999999999\n");
program('percent=100');
is(earns('a', '1000000000000', currency => 'KWD'), '1000000000000000',
   'what is absurd has a bound');

done_testing();
