# Messages by chance about conversions by chance, and batches in between: what
# partners earn is what the rules say, everything balances, and what is closed
# stays.  SEED=... runs one again.

use lib 't/lib';
use List::Util qw(min);
use Math::BigFloat;
use POSIX qw(strftime);
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;
my $seed = $ENV{SEED} // time;

srand $seed;
note("SEED=$seed");

$t->postgres;

my %link = world($t);
my $now = time;

$t->ctl($_) for split /\n/, <<'END';
program update org=acme program=books hold=30
partner update org=acme partner=ann terms=v1 method=sepa currency=EUR minimum=5
partner update org=acme partner=bob terms=v1 method=sepa currency=USD
partner create org=acme name=cat terms=v1 method=sepa
partner join org=acme partner=cat program=books
link add host=go.acme.example slug=c url=https://x.example/ program=books partner=cat
commission rule add org=acme program=books percent=7.5 max=5 starts=2020-01-01
commission rule add org=acme program=books partner=ann percent=12.345 starts=2020-01-01
commission rule add org=acme program=books partner=bob fixed=1.10 starts=2020-01-01
END
%link = map { $_->[0] => $_->[1] } $t->rows('select slug, id from usher.link');
$t->ctl('fx', 'import', "csv=day,base,quote,rate\n" . join '',
        map { strftime("%F,EUR,USD,1.25\n", gmtime $now - 86400 * 5 * $_) }
        0 .. 16);

my %closed;


# What is closed, to the last byte.

sub hash {
    my ($batch) = @_;

    $t->sql("select md5(coalesce(string_agg(x, '|' order by x), ''))
             from (select b::text from usher.payout_batch b where id = ?
                   union all select p::text from usher.payout p
                   where batch_id = ?
                   union all select r::text from usher.payout_part r
                   where batch_id = ?
                   union all select f::text from usher.payout_left f
                   where batch_id = ?
                   union all select l::text from usher.commission_line l
                   join usher.payout p on p.id = l.payout_id
                   where p.batch_id = ?) v (x)", ($batch) x 5);
}

sub pick { $_[rand @_] }

# Of sixty days, mostly in order.

sub message {
    my ($n) = @_;
    my $at = $now - 3600 - int rand 6 * 86400;

    $at -= int((600 - $n) / 600 * 54 * 86400);

    my %col = (status => pick(('sale') x 4, 'pending', 'refund', 'rejected',
                              'what'),
               currency => pick(('EUR') x 4, 'USD', ''));

    $col{sale_amount} = pick(sprintf('%.2f', rand 90), int rand 100, 'x', '')
        if rand() < 0.8;
    $col{click_id} = click($link{pick(qw(a b c))}, $at - 86400)
        if rand() < 0.7;
    hear($t, pick(('shop') x 5, 'pixel'), 't' . int rand 50, at => $at, %col);
}

sub batch {
    my $open = pick($t->rows("select id from usher.payout_batch
                              where state = 'open' order by id"));

    if (!$open || rand() < 0.5) {
        $t->ctl('payout create org=acme');

    } elsif (rand() < 0.4) {
        $t->ctl("payout cancel org=acme batch=$open->[0] reason=x");

    } else {
        $t->ctl("payout close org=acme batch=$open->[0]");
        $closed{$open->[0]} = hash($open->[0]);
    }
}

# Until batches were closed: some seeds cancel most of them.

for (my $n = 1; $n <= 600 || (keys %closed < 3 && $n < 6000); $n++) {
    message($n < 600 ? $n : 600);
    react($t) if rand() < 0.3;
    batch() if rand() < 0.1;
}

react($t);
batch() for 1 .. 4;

cmp_ok($t->sql('select count(*) from usher.commission_line'), '>', 50,
       "lines, seed $seed");
cmp_ok(scalar keys %closed, '>', 2, 'closed batches');


# The model: exact, rounded once.

sub due {
    my ($c) = @_;

    return 0 if $c->{state} ne 'approved' || !$c->{partner};
    return 110 if $c->{partner} eq 'bob';
    return 0 if !defined $c->{sale_amount};

    my $due = Math::BigFloat->new($c->{sale_amount});

    $due->bmul('0.8') if $c->{currency} eq 'USD';
    $due->bmul($c->{partner} eq 'ann' ? '0.12345' : '0.075')
        ->ffround(0, 'even');
    return $c->{partner} eq 'ann' ? $due->bstr : min($due->bstr, 500);
}

my (@wrong, %partners);

for my $c (@{ $t->db->selectall_arrayref(q{
    select c.transaction_id, c.state, c.sale_amount, c.currency,
           p.name as partner, c.side,
           coalesce((select sum(l.amount) from usher.commission_line l
                     where l.conversion_id = c.id), 0) as booked,
           coalesce((select sum(l.amount) from usher.commission_line l
                     where l.conversion_id = c.id
                           and l.partner_id <> c.partner_id), 0) as others,
           coalesce((select sum(k.amount) from usher.cost k
                     where k.conversion_id = c.id), 0) as cost,
           coalesce((select sum(r.amount) from usher.revenue r
                     where r.conversion_id = c.id
                           and r.currency = c.currency), 0) as revenue
    from usher.conversion c
    left join usher.partner p on p.id = c.partner_id }, { Slice => {} }) })
{
    my $due = due($c);
    my $sold = $c->{state} eq 'approved' ? $c->{sale_amount} // 0 : 0;

    push @wrong, "$c->{transaction_id}: $due, "
                 . join ' ', map { "$_ $c->{$_}" }
                             qw(booked others cost revenue)
        if $c->{booked} != $due || $c->{others} != 0 || $c->{cost} != $due
           || $c->{revenue} != $sold;
    $partners{ $c->{partner} // '' }++;
}

is("@wrong", '', 'lines, cost and revenue are what the rules say');
is(scalar keys %partners, 4, 'of all partners, and of none');


sub same { is_deeply([ $t->rows($_[1]) ], [ $t->rows($_[2]) ], $_[0]) }

is(() = $t->rows('select from usher.ledger_posting group by entry_id, currency
                  having sum(amount) <> 0'), 0, 'each entry balances');
same('what is owed is what is not paid',
     "select name, currency, -balance from usher.account_balance
      where kind = 'liability' and balance <> 0 order by 1, 2",
     "select 'partner:' || q.name, l.currency, sum(l.amount)
      from usher.commission_line l join usher.partner q on q.id = l.partner_id
      left join usher.payout p on p.id = l.payout_id
      left join usher.payout_batch b on b.id = p.batch_id
      where b.state is distinct from 'closed'
      group by 1, 2 having sum(l.amount) <> 0 order by 1, 2");
same('the bank has paid what is closed',
     "select currency, -balance from usher.account_balance where name = 'bank'
      order by 1",
     "select p.currency, sum(p.amount) from usher.payout p
      join usher.payout_batch b on b.id = p.batch_id
      where b.state = 'closed' group by 1 order by 1");
same('a batch has the lines that it says',
     "select r.payout_id, r.currency, r.amount, p.lines from usher.payout_part r
      join usher.payout p on p.id = r.payout_id
      join usher.payout_batch b on b.id = p.batch_id
      where b.state <> 'cancelled' order by 1, 2",
     'select payout_id, currency, sum(amount), count(*)
      from usher.commission_line where payout_id is not null
      group by 1, 2 order by 1, 2');
is($t->sql("select count(*) from usher.commission_line l
            join usher.payout p on p.id = l.payout_id
            join usher.payout_batch b on b.id = p.batch_id
            where b.state = 'cancelled' or l.payable_at > b.until"), 0,
   'and none that was cancelled, or held');
is_deeply({ map { $_ => hash($_) } keys %closed }, \%closed,
          'what is closed is as it was');

done_testing();
