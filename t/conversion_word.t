# Words that say no state: none at all, which stands for one while nobody has
# said another, and those that tell of no conversion.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);

sub state_of {
    my ($transaction) = @_;

    return $t->sql('select state from usher.conversion where transaction_id = ?',
                   $transaction) // 'none';
}

sub earned {
    return $t->sql('select coalesce(sum(r.amount), 0) from usher.revenue r
                    join usher.conversion c on c.id = r.conversion_id
                    where c.transaction_id = ?', $_[0]);
}

sub import_csv {
    my $network = $_[0] =~ /day/ ? 'ds' : 'net';
    my $told = $t->ctl("conversion import org=acme network=$network csv=\@"
        . $t->write_file('report.csv', "transaction_id,status,amount,currency\n"
                         . join '', map { "$_\n" } @_));

    return join ' ', @$told{qw(matched missing changed)};
}

# no word

tell($t, 'net', 't1', at => day(10), amount => '4.50', currency => 'EUR');
is(state_of('t1'), 'pending', 'no word');
is(import_csv('t1,approved,4.50,EUR', 't2,rejected,0,EUR'), '0 1 1', 'the report');
is(earned('t1'), 450, 'it is earned');
tell($t, 'net', $_, at => day(20), amount => '4.5', currency => 'EUR') for 't1', 't2';
is(join(' ', map { state_of($_) } 't1', 't2'), 'approved rejected',
   'told again in other words, without one: the report holds');
is(earned('t1'), 450, '... and what it earned');
tell($t, 'net', 't3', at => day(12), status => 'reversed');
tell($t, 'net', 't3', at => day(13), amount => '3', currency => 'EUR');
is(state_of('t3'), 'reversed', 'nor does it undo a word');
tell($t, 'net', 't4', at => day(13), amount => '3', currency => 'EUR');
tell($t, 'net', 't4', at => day(12), status => 'approved');
is(state_of('t4'), 'approved', 'in whatever order they come');

# where no word means approved

$t->ctl('postback', 'update', 'org=acme', 'postback=net', 'statuses==approved click=ignored');
tell($t, 'net', 't5', at => day(14), amount => '2', currency => 'EUR');
is(state_of('t5') . ' ' . earned('t5'), 'approved 200', 'it is approved');
tell($t, 'net', 't5', at => day(15), status => 'reversed');
tell($t, 'net', 't5', at => day(16), amount => '2.0', currency => 'EUR');
is(state_of('t5') . ' ' . earned('t5'), 'reversed 0', 'until somebody says another');

# of no conversion

hear($t, 'net', 't6', at => day(14), status => 'CLICK', amount => '9', currency => 'EUR');
hear($t, 'net', 't6', at => day(15), status => 'CLICK', amount => '9', currency => 'EUR');
hear($t, 'net', 't5', at => day($_), status => 'click') for 17, 18;
react($t);
is(state_of('t6'), 'none', 'a word that is to be ignored makes no conversion');
is(state_of('t5'), 'reversed', 'and is no word of one');
is($t->sql('select count(*) from usher.todo'), 0, 'nothing waits, though it came twice');
is($t->sql("select count(*) from usher.conversion_event where status ilike 'click'"), 2,
   'the events are there');
is($t->sql("select count(*) from usher.conversion where state_problem <> ''"), 0, 'no problem');
$t->ctl('network create org=acme name=ds preset=digistore24');
is(import_csv('t7,last_paid_day,1,EUR', 't8,payment,4.50,EUR'), '0 1 0', 'nor in a report');

# what edges know of it

like($t->ctl_fails('postback', 'update', 'org=acme', 'postback=net',
                   'statuses=' . join ' ', map { 'w' x 60 . "$_=ignored" } 0 .. 8),
     qr/too many words/, 'no more than they take');

is($t->sql("select r.record->>'ignored' from usher.postback p,
                   usher.postback_records(array[p.token]) r where p.name = 'net'"), 'click',
   'edges know the word');
$t->sql('truncate usher.directory_outbox');
$t->sql("update usher.network_preset set statuses = statuses || '{\"view\": \"ignored\"}'
         where name = 'generic'");
ok($t->sql("select count(*) from usher.directory_outbox where kind = 'postback'") > 0,
   'and hear of another');

done_testing();
