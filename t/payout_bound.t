# What a batch leaves out rather than fail, and what is taken back before all of
# it was payable.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);
my $n = 0;

$t->ctl($_) for split /\n/, <<'ADD';
commission rule add org=acme program=books percent=100 starts=2026-01-01
partner update org=acme partner=ann terms=v1 method=sepa
partner update org=acme partner=bob terms=v1 method=sepa
ADD

sub sale {
    my ($slug, $name, $amount, $at, %col) = @_;

    tell($t, 'shop', $name, at => $at, status => 'sale',
         sale_amount => $amount, click_id => click($link{$slug}, day(20)),
         %col);
}

sub paid { join ', ', map { "$_->{partner} $_->{amount}" } @{ $_[0]{payouts} } }

sub left { join ', ', map { "$_->{partner} $_->{reason} "
                            . ($_->{amount} // '?') } @{ $_[0]{left} } }

# A payout is what was owed at a moment: a hold of ten days, an amendment five
# days later, and it is taken back before that is payable.

$t->ctl('program update org=acme program=books hold=10');
sale('a', 'h1', 20, day(30));
sale('a', 'h1', 25, day(35));
sale('a', 'h1', '', day(36), status => 'refund');
is($t->ctl('payout create org=acme until=2026-02-12')->{batch}, undef,
   'what was taken back is not paid');
sale('a', 'h2', 20, day(31));
sale('a', 'h2', 25, day(36));
sale('a', 'h2', 22, day(37));
is($t->sql("select string_agg((l.payable_at at time zone 'UTC')::date || ' '
                              || l.amount, ', ' order by l.id)
            from usher.commission_line l
            join usher.conversion c on c.id = l.conversion_id
            where c.transaction_id = 'h2'"),
   '2026-02-11 2000, 2026-02-16 500, 2026-02-16 -300',
   'and the newest is taken back first');
$t->ctl('program update org=acme program=books hold=0');

# sums that are no amounts: by a rate, or of so many lines

$t->ctl('partner update org=acme partner=bob currency=GBP');
$t->ctl('fx', 'import', "csv=day,base,quote,rate\n"
        . $t->sql("select (now() at time zone 'UTC')::date")
        . ",EUR,GBP,999999999999\n");
sale('b', 'b1', '10000000000000', day(50));
my $batch = $t->ctl('payout create org=acme');
is(paid($batch), 'ann 22.00', 'who can be paid is');
is(left($batch), 'bob absurd ?', 'whose sum is no amount is left out');
$t->ctl('partner update org=acme partner=bob currency=');
$t->sql(q{
    with h as (
        insert into usher.conversion_change (conversion_id, org_id, key,
            origin, at, effect, said, was, became)
        select c.id, c.org_id, 'many:' || g, 'react', now(), 'none', '{}',
               '{}', '{}'
        from usher.conversion c, generate_series(1, 9300) g
        where c.transaction_id = 'b1'
        returning id, conversion_id)
    insert into usher.commission_line (org_id, conversion_id, change_id,
        partner_id, link_id, rule_id, amount, currency, payable_at, month,
        number, behind)
    select l.org_id, l.conversion_id, h.id, l.partner_id, l.link_id,
           l.rule_id, l.amount, l.currency, l.payable_at, l.month, 0, 0
    from usher.commission_line l
    join h on h.conversion_id = l.conversion_id });
sale('a', 'a1', 10, day(50));
$batch = $t->ctl('payout create org=acme');
is(paid($batch), 'ann 10.00', 'so of lines');
is(left($batch), 'bob absurd ?', 'however many they are');
is(left($t->ctl('payout create org=acme until=2026-02-01')), 'bob hold ?',
   'nor are those of later');
$t->ctl("payout close org=acme batch=$batch->{batch} reason=x");

done_testing();
