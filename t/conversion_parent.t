# A refund that is a transaction of its own takes back the one that it names, by
# a postback and in a report.

use lib 't/lib';
use Usher::Postback;
use Usher::Test;


my $t = Usher::Test->new;

world($t);

my $net = postback($t, 'name=net network=net', 'parameters=parent_id=parent');

# Transactions and their states, and what was earned of all of them.

sub truth {
    join ', ', map { join ' ', map { $_ // '-' } @$_ } $t->rows(q{
        select c.transaction_id, c.state,
               (select sum(r.amount) from usher.revenue r
                where r.conversion_id = c.id)
        from usher.conversion c order by c.transaction_id collate "C" });
}

sub tells { is(said($t->get("$net&currency=EUR&$_[0]")), '200 OK', $_[1]) }

sub is_true {
    my ($want, $name) = @_;

    $t->wait_for(sub { truth() eq $want }, $name) or diag truth();
}

tells("transaction_id=t1&amount=10&status=approved&parent=", 'a sale, of no other');
is_true('t1 approved 1000', 'it is earned');
tells("transaction_id=r1&amount=-10&status=reversed&parent=t1", 'its refund');
is_true('t1 reversed 0', 'nothing is, and there is no second one');
tells("transaction_id=r1&amount=-10&status=reversed&parent=t1", 'the same again');
tells("transaction_id=t1&amount=10&status=approved&parent=", 'and the sale again');
is($t->sql('select count(*) from usher.conversion_event'), 2, 'two rows');

# a payment may name another one

tells("transaction_id=t0&amount=3&status=approved&parent=t1",
      'a renewal names the first payment, and is one of its own');
is_true('t0 approved 300, t1 reversed 0', 'it is earned');

# another refund, after it was paid once more, is no repeat of the first

tells("transaction_id=t1&amount=10&status=approved&parent=&again=1", 'no new word');
$t->ctl('postback', 'update', 'org=acme', 'postback=net',
        'parameters=parent_id=parent event_id=msg');
$t->wait_for(sub { $t->redis_cli('keys', 'usher:d:postback:*') =~ /postback/
                   && $t->redis_cli('get', $t->redis_cli('keys', 'usher:d:postback:*'))
                      =~ /"msg"/ }, 'messages have ids');
$t->wait_for(sub {
    $t->get("$net&transaction_id=probe&msg=1&status=rejected");
    $t->sql("select count(*) from usher.conversion_event where event_id <> ''
             and transaction_id = 'probe'") }, 'which the edge knows');
tells("transaction_id=t1&amount=10&status=approved&msg=7", 'paid after all');
is_true('probe rejected -, t0 approved 300, t1 approved 1000', 'earned again');
tells("transaction_id=r2&amount=-10&status=reversed&parent=t1", 'a second refund');
is_true('probe rejected -, t0 approved 300, t1 reversed 0', 'is taken back');
is($t->sql("select string_agg(event_id, ' ' order by event_id)
            from usher.conversion_event where transaction_id = 't1'"), ' 7 r1 r2',
   'each message is told from the others');

# a report has a line for each

$t->ctl('network create org=acme name=ds preset=digistore24');

sub import_csv {
    $t->write_file('report.csv', join '', map { "$_\n" }
        'transaction_id,transaction_type,amount_affiliate,currency,parent_transaction_id', @_);
    my $told = $t->ctl('conversion import org=acme network=ds csv=@' . $t->dir . '/report.csv');

    return join ' ', @$told{qw(matched missing changed)};
}

sub of_ds { truth() =~ s/, t0.*//r =~ s/, probe.*//r }

is(import_csv('70001,payment,5,EUR,', '70002,payment,7,EUR,', '70003,refund,-5,EUR,70001'),
   '0 2 0', 'a report: two sales, one of them refunded');
is(of_ds(), '70001 reversed -, 70002 approved 700', 'so it is');
is(import_csv('70003,refund,-5,EUR,70001', '70001,payment,5,EUR,'), '1 0 0',
   'in whatever order');
is(import_csv('70007,payment,2,EUR,70002'), '0 1 0', 'a renewal that names another payment');
is(import_csv('70004,refund,-7,EUR,70002'), '0 0 1', 'a refund alone');
is(of_ds(), '70001 reversed -, 70002 reversed 0, 70007 approved 200', 'of what is there');
like($t->ctl_fails('conversion import org=acme network=ds csv=@'
                        . $t->write_file('twice.csv', join '', map { "$_\n" }
    'transaction_id,transaction_type,amount_affiliate,currency,parent_transaction_id',
    '70005,refund,-7,EUR,70002', '70006,refund,-7,EUR,70002')), qr/"70002" twice/,
     'twice refunded');

done_testing();
