# Two sessions post the same thing at the same moment: it is posted once.  And
# accounts, rates and costs that two bring along at once are there once.

use lib 't/lib';
use Usher::Test;

use DBD::Pg ':async';
use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
$t->sql("select usher.account_ensure(1, k, 'a', 'EUR')
         from unnest(array['asset', 'revenue']) k");

(my $dsn = $t->dsn) =~ tr/ /;/;
my ($one, $two) = map { DBI->connect("dbi:Pg:$dsn", '', '',
                                     { RaiseError => 1, PrintError => 0 }) } 1, 2;


# The first calls and leaves its transaction open; the second calls and has to
# wait; the first ends.  What the second gets, or what it says.

sub both {
    my ($end, $first, $second) = @_;
    my ($pid) = $two->selectrow_array('select pg_backend_pid()');

    $one->begin_work;
    my ($made) = $one->selectrow_array($first);

    my $st = $two->prepare($second, { pg_async => PG_ASYNC });
    $st->execute;

    $t->wait_for(sub {
        $t->sql("select count(*) from pg_stat_activity
                 where pid = ? and wait_event_type = 'Lock'", $pid)
    }, 'the second waits');

    $one->$end;

    my $ok = eval { $two->pg_result; 1 };

    return ($made, $ok ? $st->fetchrow_array : $two->state);
}


sub post { "select usher.ledger_post('$_[0]', array[1, 2]::bigint[],
                                     array[$_[1], -$_[1]]::bigint[])" }


my ($made, $got) = both('commit', post('a', 5), post('a', 5));
is($got, $made, 'both are told the same entry');
($made, $got) = both('commit', post('b', 5), post('b', 6));
is($got, 'US409', 'with other postings it is an error');
($made, $got) = both('rollback', post('c', 5), post('c', 6));
isnt($got, $made, 'where the first gives up, the second posts');
is_deeply([ $t->rows('select e.what, count(*), sum(abs(p.amount))
                      from usher.ledger_entry e
                      join usher.ledger_posting p on p.entry_id = e.id
                      group by 1 order by 1') ],
          [ [ 'a', 2, 10 ], [ 'b', 2, 10 ], [ 'c', 2, 12 ] ], 'each is there once');

my $reverse = "select usher.ledger_reverse('a', 'x')";
($made, $got) = both('commit', $reverse, $reverse);
is($got, $made, 'an entry is taken back once');

my $open = "select usher.account_ensure(1, 'asset', 'new', 'EUR')";
($made, $got) = both('commit', $open, $open);
is($got, $made, 'an account is opened once');

my $fx = "select api.fx_import(E'day,base,quote,rate\\n2026-01-02,EUR,USD,1.1')->>'added'";
is_deeply([ both('commit', $fx, $fx) ], [ 1, 0 ], 'a rate is added once');

my $cost = "select api.cost_import('acme', E'day,amount,currency\\n2026-01-02,5,EUR',
                                   'ads')->>'added'";
is_deeply([ both('commit', $cost, $cost) ], [ 1, 0 ], 'and so is a cost');
is($t->sql('select count(*) from usher.cost where changed_at is null'), 1,
   'which is as it was');

$_->disconnect for $one, $two;

done_testing();
