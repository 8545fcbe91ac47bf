# Two sessions post the same thing at the same moment: it is posted once.  And
# accounts, rates and costs that two bring along at once are there once.

use lib 't/lib';
use Usher::Race;
use Usher::Test;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
$t->sql("select usher.account_ensure(1, k, 'a', 'EUR')
         from unnest(array['asset', 'revenue']) k");

sub post { "select usher.ledger_post('$_[0]', array[1, 2]::bigint[],
                                     array[$_[1], -$_[1]]::bigint[])" }


my ($made, $got) = both($t, 'commit', post('a', 5), post('a', 5));
is($got, $made, 'both are told the same entry');
($made, $got) = both($t, 'commit', post('b', 5), post('b', 6));
is($got, 'US409', 'with other postings it is an error');
($made, $got) = both($t, 'rollback', post('c', 5), post('c', 6));
isnt($got, $made, 'where the first gives up, the second posts');
is_deeply([ $t->rows('select e.what, count(*), sum(abs(p.amount))
                      from usher.ledger_entry e
                      join usher.ledger_posting p on p.entry_id = e.id
                      group by 1 order by 1') ],
          [ [ 'a', 2, 10 ], [ 'b', 2, 10 ], [ 'c', 2, 12 ] ], 'each is there once');

my $reverse = "select usher.ledger_reverse('a', 'x')";
($made, $got) = both($t, 'commit', $reverse, $reverse);
is($got, $made, 'an entry is taken back once');

my $open = "select usher.account_ensure(1, 'asset', 'new', 'EUR')";
($made, $got) = both($t, 'commit', $open, $open);
is($got, $made, 'an account is opened once');

my $fx = "select api.fx_import(E'day,base,quote,rate\\n2026-01-02,EUR,USD,1.1')->>'added'";
is_deeply([ both($t, 'commit', $fx, $fx) ], [ 1, 0 ], 'a rate is added once');

my $cost = "select api.cost_import('acme', E'day,amount,currency\\n2026-01-02,5,EUR',
                                   'ads')->>'added'";
is_deeply([ both($t, 'commit', $cost, $cost) ], [ 1, 0 ], 'and so is a cost');
is($t->sql('select count(*) from usher.cost where changed_at is null'), 1,
   'which is as it was');

# an org is disabled while somebody imports its costs

my $db = DBI->connect('dbi:Pg:' . $t->dsn =~ tr/ /;/r, '', '', { RaiseError => 1 });

$db->begin_work;
$db->do($cost);
$t->sql("set lock_timeout = '5s'");
like($t->sql("select api.org_disable('acme')"), qr/disabled/,
     'an import keeps nobody from disabling its org');
$db->rollback;
$db->disconnect;

done_testing();
