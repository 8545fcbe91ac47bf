# The ledger: what is posted balances and stays as it is, whoever writes; each
# thing is posted once.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl("org create name=$_") for qw(acme beta);

my %account = map { my ($org, $kind, $name, $currency) = split;
                    ($name => $t->sql('select usher.account_ensure(?, ?, ?, ?)',
                                      $org, $kind, $name, $currency)) }
              '1 asset bank EUR', '1 revenue sales EUR', '1 expense ads EUR',
              '1 asset dollars USD', '1 liability owed USD', '2 asset other EUR',
              '2 asset mine EUR';

is($t->sql("select usher.account_ensure(1, 'asset', 'bank', 'EUR')"),
   $account{bank}, 'an account is opened once');
is($t->sql('select count(*) from usher.account'), 7, 'these and no others');


# post('what', bank => 5, ...): the entry's number, or what it says

sub post {
    my ($what, @lines) = @_;
    my (@accounts, @amounts);

    while (my ($name, $amount) = splice @lines, 0, 2) {
        push @accounts, $account{$name} // $name;
        push @amounts, $amount;
    }

    return eval { $t->sql('select usher.ledger_post(?, ?, ?)', $what, \@accounts,
                          \@amounts) } // $t->db->state . ' ' . $t->db->errstr;
}


sub refused { eval { $t->sql($_[0]); 1 } ? '' : $t->db->errstr }

sub balance { (grep { $_->{name} eq $_[0] } @{ $t->ctl('account list') })[0]{balance} }


my $sale = post('sale:1', bank => 1999, sales => -1999);
like($sale, qr/^\d+$/, 'an entry');
is(balance('bank'), '19.99', 'debits are above 0');
is(balance('sales'), '-19.99', 'credits below');
is(post('sale:1', bank => 1999, sales => -1999), $sale, 'again it is the same');
is(post('sale:1', sales => -1999, bank => 1999), $sale, 'in any order');
like(post('sale:1', bank => 2000, sales => -2000),
     qr/US409 .*"sale:1" is posted already.*ledger_list.*reversal/s,
     'not with another amount');
like(post('sale:1', bank => 1999, ads => -1999), qr/US409 /, 'nor another account');
like(post('sale:1', bank => 1999, sales => -999, sales => -1000), qr/US409 /,
     'nor another number of postings');
is(balance('bank'), '19.99', 'nothing was added');

like(post('change', bank => 100, ads => -100, dollars => 120, owed => -120),
     qr/^\d+$/, 'two currencies, each balanced');

for my $case (
    [ [ bank => 5, sales => -4 ], qr/do not balance: 0.01 EUR.*add up to 0/s ],
    [ [ bank => 5, owed => -5 ], qr/do not balance: 0.05 EUR, -0.05 USD/ ],
    [ [ bank => 5 ], qr/2 to 10000 postings/ ], [ [], qr/2 to 10000 postings/ ],
    [ [ bank => 0, sales => 0 ], qr/other than 0/ ],
    [ [ bank => undef, sales => 5 ], qr/are no postings/ ],
    [ [ bank => '-9223372036854775808', sales => 1 ], qr/are no postings/ ],
    [ [ bank => 5, 99 => -5 ], qr/no such account.*account_list/s ],
    [ [ bank => 5, other => -5 ], qr/accounts are of several orgs/ ],
) {
    like(post('bad', @{ $case->[0] }), qr/^US40[04] .*$case->[1]/s,
         "not @{[ map { $_ // 'null' } @{ $case->[0] } ]}");
}

like(post($_->[0], bank => 5, sales => -5), qr/what=.*$_->[1]/s, "not '$_->[0]'")
    for [ '', '1 to 200' ], [ 'reversal:7', 'ledger_reverse' ], [ "a\nb", '1 to 200' ];

# the most that can be, and its sum

like(post('most', bank => '9223372036854775807', sales => '-9223372036854775807'),
     qr/^\d+$/, 'the largest amount');
is(balance('bank'), '92233720368547779.06', 'sums go on beyond');

# reversals

my $back = $t->ctl('ledger reverse what=sale:1 reason=returned');
is($back->{reverses}, $sale, 'a reversal');
is(join(' ', map { "$_->{name} $_->{amount}" } @{ $back->{postings} }),
   'bank -19.99 sales 19.99', 'is the same with the other sign');
is($t->ctl('ledger reverse what=sale:1 reason=again')->{id}, $back->{id}, 'once');
is($t->ctl('ledger list what=sale:1')->[0]{reversed}, $back->{id},
   'the entry names it');
is($t->ctl("ledger reverse what=reversal:$sale reason=no")->{reverses},
   $back->{id}, 'a reversal is taken back as well');
like($t->ctl_fails("ledger reverse what=$_ reason=x"), qr/"$_" follows from a/,
     "not what follows from another: $_") for 'conversion:1', 'commission:1', 'payout:1';
like($t->ctl_fails('ledger reverse what=none reason=x'),
     qr/no entry "none" is posted.*usherctl ledger list/s, 'what is not there');

# nobody changes anything: not the owner of the tables either

for my $role ('postgres', 'usher_owner') {
    $t->sql("set role $role");
    $t->sql('set client_min_messages = warning');

    for my $row ([ 'account', 'name' ], [ 'ledger_entry', 'what' ],
                 [ 'ledger_posting', 'n' ])
    {
        my ($table, $column) = @$row;

        for my $sql ("update usher.$table set $column = $column",
                     "delete from usher.$table", "truncate usher.$table cascade")
        {
            like(refused($sql), qr/rows of usher.\w+ are never changed.*post a reversal/is,
                 "$role: $sql");
        }
    }
}

# what is written by hand balances at the commit, or is not there

my $entry = "with e as (insert into usher.ledger_entry (org_id, what, postings)
                        values (1, 'hand', 2) returning id)
             insert into usher.ledger_posting (entry_id, n, of, account_id, amount,
                 currency) select e.id, v.* from e, (values %s) v";
my ($bank, $sales) = @account{qw(bank sales)};

for my $case (
    [ "(1, 2, $bank, 5, 'EUR'), (2, 2, $sales, -4, 'EUR')", 'does not balance: EUR 1' ],
    [ "(1, 2, $bank, 5, 'EUR')", 'has 1 of 2 postings' ],
    [ "(1, 2, $bank, 5, 'EUR'), (2, 2, $account{other}, -5, 'EUR')", 'another org' ],
    [ "(1, 2, $bank, 5, 'USD'), (2, 2, $sales, -5, 'USD')", 'account_id_currency_fkey' ],
    [ "(1, 3, $bank, 5, 'EUR'), (2, 3, $sales, -5, 'EUR')", 'entry_id_of_fkey' ],
    [ "(1, 2, $bank, 5, 'EUR'), (3, 2, $sales, -5, 'EUR')", 'ledger_posting_number' ],
    [ "(1, 2, $bank, 5, 'EUR'), (2, 2, $sales, 0, 'EUR')", 'amount_check' ],
) {
    like(refused(sprintf $entry, $case->[0]), qr/$case->[1]/, "not $case->[0]");
}

like(refused("insert into usher.ledger_entry (org_id, what, postings)
              values (1, 'empty', 2)"), qr/has 0 of 2 postings/, 'nor an empty one');

# nor does it take back what it says, unless it does

my $wrong = post('wrong', bank => 5, sales => -5);

for my $case ([ 'other', 'mine', 5, 'ledger_entry_reverses' ],
              [ 'bank', 'sales', -4, 'not what takes entry \d+ back' ],
              [ 'sales', 'bank', -5, 'not what takes entry \d+ back' ])
{
    my ($debit, $credit, $amount, $by) = @$case;

    like(refused("select usher.ledger_post('reversal:$wrong', array[$account{$debit},
                  $account{$credit}], array[$amount, -($amount)], '', $wrong)"),
         qr/$by/, "no reversal: $debit $amount");
}

is(refused("select usher.ledger_post('reversal:$wrong', array[$bank, $sales],
            array[-5, 5], '', $wrong)"), '', 'this is one');

# an entry that is whole takes no more, however it is done

$t->db->begin_work;
$t->sql(sprintf $entry, "(1, 2, $bank, 5, 'EUR'), (2, 2, $sales, -5, 'EUR')");
$t->sql('set constraints all immediate');
like(refused("insert into usher.ledger_posting select id, 3, 3, $bank, 1, 'EUR'
              from usher.ledger_entry where what = 'hand'"), qr/entry_id_of_fkey/,
     'a posting more');
$t->db->rollback;

is($t->sql('select count(*) from (select entry_id, currency from
            usher.ledger_posting group by 1, 2 having sum(amount) <> 0) x'), 0,
   'all of it balances');

done_testing();
