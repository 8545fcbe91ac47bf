# Who asks to be forgotten is: nothing says any more whose it was, while money,
# links and the history stay; and nobody else is.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);
my $click = click($link{b}, day(99));

tell($t, 'shop', '', customer => $_, click_id => $click) for qw(joe jim);

for my $who (qw(joe jim)) {
    tell($t, 'shop', "$who-1", customer => $who, status => 'sale',
         sale_amount => '20', at => day(100));
    tell($t, 'net', "$who-2", customer => $who, status => 'approved',
         amount => '3', currency => 'EUR', at => day(100));
    tell($t, 'shop', "$who-3", customer => $who, status => 'sale',
         at => day(200));
}

$t->ctl('conversion', 'import', 'org=acme', 'program=books',
        "csv=transaction_id,status,customer\njoe-4,sale,joe\n");
$t->sql('update usher.conversion_event set query = $$a=1&c=$$ || customer');

# Everything there is, less when rows changed.

sub everything {
    return join "\n", map { $_->[0] } map { $t->rows(
        "select x::text from usher.$_ x order by 1") }
        qw(conversion conversion_change conversion_event customer_click
           revenue audit);
}

sub money { $t->sql('select sum(amount) from usher.revenue') }
sub bound { $t->sql("select string_agg(transaction_id || ' ' || via, ', '
                         order by transaction_id)
                     from usher.conversion where link_id is not null") }

my $rows = $t->sql('select count(*) from usher.conversion_change');
my $jim = () = everything() =~ /jim/g;
my $bound = bound();

# only of a network, then of all

is_deeply($t->ctl('conversion forget org=acme customer=joe network=net'),
          { conversions => 1, events => 1, history => 1, clicks => 0 },
          'where he bought');
is($t->sql("select count(*) from usher.conversion where customer = 'joe'"), 3,
   'and nowhere else');

my $told = $t->ctl('conversion forget org=acme customer=joe');

is_deeply($told, { conversions => 3, events => 3, history => 3, clicks => 1 },
          'or wherever');
unlike(everything() =~ s/joe-\d//gr, qr/joe/, 'he is nowhere');
is($t->sql("select count(*) from usher.conversion_event where query = ''"), 4,
   'nor in what came');
is(scalar(() = everything() =~ /jim/g), $jim, 'and nobody else');
is(money(), 4600, 'money stays, of commissions and of sales');
is(bound(), $bound, 'and whose link it was');
is($t->sql('select count(*) from usher.conversion_change'), $rows,
   'and that it was told');
is_deeply($t->ctl('conversion forget org=acme customer=joe'),
          { conversions => 0, events => 0, history => 0, clicks => 0 },
          'once more there is nobody');
tell($t, 'shop', 'joe-1', customer => 'joe', status => 'sale',
     sale_amount => '20', at => day(100));
is(truth($t, 'joe-1')->{customer}, '', 'what is told again does not tell it');

# the rest of the history stays, whoever writes

my $change = $t->sql("select h.id from usher.conversion_change h
    join usher.conversion c on c.id = h.conversion_id
    where transaction_id = 'jim-1'");

for my $set ("said = '{}'", "said = said - 'customer', effect = 'none'",
             "said = said - 'customer' || '{\"status\": \"x\"}'",
             "said = said || '{\"customer\": \"x\"}'")
{
    eval { $t->sql("update usher.conversion_change set $set where id = ?",
                   $change) };
    like($@, qr/never changed/, "$set is refused");
}

like($t->ctl_fails('conversion', 'forget', 'org=acme', "customer=$_"),
     qr/^usherctl: customer= cannot be\nhint: /, 'nobody in particular')
    for '', 'x' x 129;

done_testing();
