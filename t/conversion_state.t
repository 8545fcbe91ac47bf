# What is told of a conversion: the newest word holds, in whatever order words
# are handled, and each is in its history.

use lib 't/lib';
use List::Util qw(shuffle);
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
world($t);

sub state_of {
    my $c = truth($t, $_[0]);
    return join ' ', $c->{state}, map { $_ // '-' } @$c{qw(amount currency)};
}

sub effects { join ' ', map { $_->[0] } $t->rows(
    'select h.effect from usher.conversion_change h join usher.conversion c
     on c.id = h.conversion_id where c.transaction_id = ? order by h.id',
    $_[0]) }

# a life, and after each word what is true

my $hour = 0;

for ([ pending => 'pending 1000 EUR', amount => '10.00' ],
     [ approved => 'approved 1250 EUR', amount => '12.5' ],
     [ rejected => 'rejected 1250 EUR', amount => '0.00' ],
     [ approved => 'approved 1300 EUR', amount => '13' ],
     [ reversed => 'reversed 1300 EUR', amount => '-13.00' ],
     [ Chargeback => 'reversed 1300 EUR' ],
     [ approved => 'approved 1300 EUR' ])
{
    my ($status, $want, %col) = @$_;

    tell($t, 'net', 'life', at => day(10, ++$hour), status => $status,
         currency => 'EUR', %col);
    is(state_of('life'), $want, "$status: $want");
}

is(effects('life'), 'new changed changed changed changed none changed',
   'each is in the history');

# what is repeated, and what comes late

tell($t, 'net', 'life', at => day(10, 20), status => 'pending',
     amount => '10.00', currency => 'EUR');
is(effects('life') =~ tr/ //, 6, 'a repeated word is no event');
tell($t, 'net', 'late', at => day(10, 2), status => 'approved',
     amount => '9');
tell($t, 'net', 'late', at => day(10, 1), status => 'pending',
     amount => '7', sale_amount => '70');
is(state_of('late'), 'approved 900 EUR', 'an older word undoes nothing');
is(truth($t, 'late')->{sale_amount}, 7000, 'but fills what was left out');
tell($t, 'net', 'late', at => day(10, 1), status => 'rejected');
is(effects('late'), 'new changed none', 'and is in the history');
tell($t, 'net', 'late', at => day(10, 1), status => 'what');
is(truth($t, 'late')->{state_problem}, undef, 'nor is an older one a problem');
is($t->sql("select occurred_at from usher.conversion
            where transaction_id = 'late'"), '2026-01-11 01:00:00+00',
   'it was when it was first told of');

# an edge whose clock is ahead does not have the last word for long

tell($t, 'net', 'ahead', at => time + 86400 * 400, status => 'approved',
     amount => '5');
is($t->sql("select state_at = received_at + interval '5 minutes'
            from usher.conversion c join usher.conversion_event e
            using (transaction_id) where transaction_id = 'ahead'"), 1,
   'what is told ahead of the clock was told when it was stored');

# in the same moment, in either order

for my $order ([ 5, 7 ], [ 7, 5 ]) {
    tell($t, 'net', "same-@$order", at => day(12), status => 'approved',
         amount => $_, sale_amount => "${_}0") for @$order;
    my $c = truth($t, "same-@$order");
    is("$c->{amount} $c->{sale_amount}", '700 7000',
       "of @$order at once the higher one holds");
}

# handled twice, as after a restored backup

$t->sql("select usher.todo_put('conversion', array_agg(jsonb_build_object(
             'received_at', received_at, 'postback_id', postback_id,
             'transaction_id', transaction_id,
             'digest', encode(digest, 'hex'))))
         from usher.conversion_event");
my $before = $t->sql('select md5(string_agg(h::text, 1::text order by id)) '
                     . 'from usher.conversion_change h');
react($t);
is($t->sql('select md5(string_agg(h::text, 1::text order by id)) '
           . 'from usher.conversion_change h'), $before,
   'what was handled is not handled again');

# any order, one truth; amounts and states apart, one word unknown

my @words = ([ status => 'pending', amount => '1', sale_amount => '50' ],
             [ status => 'approved', amount => '2' ],
             [ status => 'wat', amount => '77' ],
             [ status => 'reversed', amount => '-2' ],
             [ status => 'approved', amount => '3', sale_amount => '60' ],
             [ status => 'rejected' ]);

srand 7;

for my $end (2 .. @words) {
    my %truths;

    for my $try (1 .. 6) {
        my @order = $try == 1 ? 1 .. $end : shuffle(1 .. $end);

        hear($t, 'net', "any-$end-$try", at => day(20, $_),
             currency => 'USD', @{ $words[$_ - 1] })
            for @order;
        $t->sql('update usher.todo set next_at = now() - make_interval(secs =>
                 ?)', 0);
        react($t);
        my $c = truth($t, "any-$end-$try");
        $truths{ join ' ', map { $_ // '-' }
                 @$c{qw(state amount sale_amount currency state_problem)} }++;
    }

    is(scalar keys %truths, 1, "$end words in any order: one truth")
        or diag(join "\n", keys %truths);
}

is(truth($t, 'any-6-2')->{state}, 'rejected', 'the last one');

# amounts that cannot be read, one without the other, in another currency

@words = ([ amount => '1', sale_amount => '10', currency => 'EUR' ],
          [ amount => '2', sale_amount => 'x', currency => 'EUR' ],
          [ amount => '3,0', sale_amount => 'y', currency => 'EUR' ],
          [ sale_amount => '40', currency => 'USD' ],
          [ amount => '5', currency => 'EUR' ]);

sub orders {
    my ($first, @rest) = @_;

    return [] if !defined $first;
    return map { my $o = $_; map { [ @$o[0 .. $_ - 1], $first,
                                     @$o[$_ .. $#$o] ] } 0 .. @$o }
           orders(@rest);
}

for my $end (2 .. @words) {
    my (%truths, $n);

    for my $order (orders(1 .. $end)) {
        my $name = "each-$end-" . ++$n;

        hear($t, 'net', $name, at => day(50, $_), status => 'approved',
             @{ $words[$_ - 1] })
            for @$order;
        react($t);
        my $c = truth($t, $name);
        $truths{ join ' ', map { $_ // '-' }
                 @$c{qw(amount sale_amount currency amount_problem)} }++;
    }

    is(join(', ', keys %truths),
       ('200 - EUR sale_amount="x" cannot be read',
        '- - - amount="3,0" cannot be read; sale_amount="y" cannot be read',
        '- 4000 USD amount="3,0" cannot be read', '500 - EUR -')[$end - 2],
       "$n orders of $end: one truth");
}

# history stays

$t->sql('set client_min_messages = warning');

for my $sql ('update usher.conversion_change set effect = effect',
             'delete from usher.conversion_change',
             'truncate usher.conversion_change cascade')
{
    eval { $t->sql($sql) };
    like($@, qr/never changed/, $sql =~ s/ .*//r . ' is refused');
}

# a pixel is not believed

tell($t, 'netpixel', 'px', at => day(30), status => 'approved',
     amount => '99');
is(state_of('px'), 'pending 9900 EUR', 'a pixel is pending');
is(truth($t, 'px')->{confirmed}, 0, 'and unconfirmed');
tell($t, 'net', 'px', at => day(29), status => 'approved', amount => '5');
is(state_of('px'), 'approved 500 EUR', 'until a postback says what is true');
tell($t, 'netpixel', 'px', at => day(31), status => 'approved',
     amount => '98');
is(state_of('px'), 'approved 500 EUR', 'and never again');
tell($t, 'netpixel', 'px2', at => day(30), amount => '99');
tell($t, 'net', 'px2', at => day(31), status => 'approved');
is(state_of('px2'), 'approved - -', 'nor is its amount');

done_testing();
