# Which click gets a conversion: by ids alone, within the window of the
# program, the first or the last of those of a customer.

use lib 't/lib';
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);

# an id is read as src/common writes it

my ($dir, $top) = ($t->dir, $t->top);
my $source = $t->write_file('click.c', <<'C');
#include <stdio.h>
#include "usher_click.h"

int
main(void)
{
    usher_click_t      click = { 0, 0, 7, 0 };
    usher_click_key_t  key;
    unsigned char      text[USHER_CLICK_TEXT];
    unsigned           i;

    for (i = 0; i < 33; i++) {
        click.time = i < 32 ? 0x80000000u >> i : 0xffffffffu;
        click.link = i < 32 ? 1u << i : 0xffffffffu;

        if (usher_click_key(&key, i % 16, "key", 3) != 0
            || usher_click_make(text, &key, &click) != 0)
        {
            return 1;
        }

        printf("%.32s %u %u\n", text, click.link, click.time);
    }

    return 0;
}
C

system("cc -o $dir/click -I$top/src/common $source "
       . "$top/src/common/usher_click.c -lcrypto") == 0
    or BAIL_OUT('the ids do not compile');

my @ids = map { [ split ] } `$dir/click`;
is_deeply([ map { my $id = $_->[0]; [ $id, @{ ($t->rows(
              'select link_id, extract(epoch from clicked_at)::bigint
               from usher.click_read(?)', $id))[0] } ] } @ids ], \@ids,
          'link and moment of an id');
is($t->sql('select count(link_id) from unnest(?::text[]) i,
            usher.click_read(i)', [ '', 'c' x 31, 'c' x 33, uc $ids[0][0],
            'a' x 32, 'c1' . 'a' x 30, 'c' x 31 . "\n" ]), 0, 'nothing else');


# Of a transaction: link or reason, how it was found, and who is paid.

sub comes {
    my ($postback, $transaction, %col) = @_;

    tell($t, $postback, $transaction, at => day(100), %col);
    my $c = truth($t, $transaction);

    return join ' ', map { $_ // '-' } @$c{qw(link via partner)};
}

my $a = $link{a};

is(comes('shop', 's1', click_id => click($a, day(99))), 'a click ann',
   'a click of a link of ours');
is(comes('net', 'n1', click_id => click($link{s}, day(99))), 's click -',
   'of a link to a network');
is($t->sql("select p.name || ' ' || m.name from usher.conversion c
            join usher.program p on p.id = c.program_id
            join usher.campaign m on m.id = c.campaign_id
            where transaction_id = 'n1'"), 'shoes spring',
   'with program and campaign');
is($t->sql('select count(*) from usher.click'), 0, 'no row of it is needed');

# reasons

is(comes('shop', "r$_", click_status => $_, click_id => 'x'),
   (qw(- none malformed no_key forged))[$_] . ' - -',
   "as the edge judged: $_") for 1 .. 4;
is(comes('shop', 'r5', click_id => click(4_000_000_000, day(99))),
   'unknown_link - -', 'a link that is not there');
$t->ctl('org create name=beta');
$t->ctl('domain add org=beta host=go.beta.example');
$t->ctl('link add host=go.beta.example slug=x url=https://x.example/');
my $x = $t->sql("select id from usher.link where slug = 'x'");
is(comes('shop', 'r6', click_id => click($x, day(99))), 'other_org - -',
   'another org\'s');
is(comes('net', 'r7', click_id => click($a, day(99))), 'other_program - -',
   'one of ours, of a network\'s');
is(comes('shop', 'r8', click_id => click($link{s}, day(99))),
   'other_program - -', 'a network\'s, of ours');

# the window, for the first binding only

is(comes('shop', 'w1', click_id => click($a, day(70))), 'a click ann',
   'on the last day');
is(comes('shop', 'w2', click_id => click($a, day(70) - 1)),
   'out_of_window - -', 'after it');
is(comes('shop', 'w3', click_id => click($a, day(100) + 300)), 'a click ann',
   'clocks differ');
is(comes('shop', 'w4', click_id => click($a, day(100) + 301)), 'ahead - -',
   'but not so much');
is(comes('shop', 'w1', status => 'refund', at => day(300)), 'a click ann',
   'a reversal long after is taken');
is(truth($t, 'w1')->{state}, 'reversed', 'as such');
is(comes('shop', 'w1', status => 'sale', at => day(301),
         click_id => click($link{b}, day(99))), 'a click ann',
   'and binds to nobody else');
is(comes('shop', 'r1', status => 'sale', at => day(101),
         click_id => click($a, day(99))), 'a click ann',
   'what had no click is bound when it has one');

# of several of a customer, the last or the first; whoever told of them

my @c = (click($a, day(90)), click($link{b}, day(95)));

comes('pixel', "lead-$_", customer => 'joe', click_id => $c[$_]) for 1, 0;
is(comes('shop', 'j1', customer => 'joe'), 'b customer bob', 'the last');
$t->sql("update usher.program set attribution = 'first'");
is(comes('shop', 'j2', customer => 'joe'), 'a customer ann', 'the first');
is(comes('shop', 'j3', customer => 'joe', at => day(123)), 'b customer bob',
   'of those in the window');
is(comes('shop', 'j4', customer => 'joe',
         click_id => click($link{b}, day(99))), 'a customer ann',
   'its own id is one of them');
$t->sql("update usher.program set attribution = 'last'");
is(comes('shop', 'j5', customer => 'joe',
         click_id => click($a, day(98))), 'b customer bob',
   'which the newest is not');
is(comes('shop', 'j6', customer => 'jim'), 'none - -', 'nobody else\'s');
is(comes('net', 'j7', customer => 'joe'), 'none - -', 'nor elsewhere');

# a click that is told after the conversion

comes('pixel', 'lead-9', customer => 'jim', click_id => $c[0]);
is(truth($t, 'j6')->{link}, 'a', 'a click that comes late is found');
is($t->sql("select h.origin || ' ' || effect from usher.conversion_change h
            join usher.conversion c on c.id = h.conversion_id
            where transaction_id = 'j6' order by h.id desc limit 1"),
   'react changed', 'which is in the history');

hear($t, 'shop', "g$_", customer => 'guest', at => day(50)) for 1 .. 3;
hear($t, 'shop', 'g4', customer => 'guest', at => day(60) - 300);
react($t);
hear($t, 'shop', '', customer => 'guest', click_id => click($a, day(60)));
$t->sql('select usher.react(1)');
is($t->sql("select string_agg(c.transaction_id, ' ') from usher.todo t
            join usher.conversion c on c.id = (reference->>'conversion')::int
            where handler = 'binding'"), 'g4',
   'what was before a click is not looked at again');
react($t);

# renewals: the window was for the first

is(comes('shop', 'j8', customer => 'jim', at => day(360)), 'a renewal ann',
   'a renewal is bound as before');
is(comes('shop', 'j9', customer => 'jim', at => day(360),
         click_id => click($link{b}, day(359))), 'b click bob',
   'unless there is another click');

# a pixel's click gives way to a server's

comes('pixel', 'p1', click_id => click($a, day(99)));
is(comes('shop', 'p1', at => day(101), status => 'sale'), 'a click ann',
   'a pixel binds');
comes('pixel', 'p2', click_id => click($a, day(99)));
is(comes('shop', 'p2', status => 'sale', click_id => click($x, day(99))),
   'a click ann', 'a click that does not count takes nothing away');
is(comes('shop', 'p2', at => day(101),
         click_id => click($link{b}, day(99))), 'b click bob',
   'but one that does');
is(comes('pixel', 'p2', at => day(101), click_id => click($a, day(99))),
   'b click bob', 'and no pixel takes it back');

# coupons

$t->ctl('coupon add org=acme program=books code=Ten host=go.acme.example '
        . 'slug=b');
is(comes('shop', 'k1', coupon => 'tEN'), 'b coupon bob', 'a coupon');
is(comes('shop', 'k2', coupon => 'ten', click_id => click($a, day(99))),
   'a click ann', 'a click is more');
is(comes('shop', 'k3', coupon => 'ten', click_id => click($x, day(99))),
   'b coupon bob', 'than one that does not count');
is(comes('net', 'k4', coupon => 'ten'), 'none - -', 'of that program only');
$t->ctl('coupon add org=acme program=books code=Ann host=go.acme.example '
        . 'slug=a');
comes('pixel', 'k6', coupon => 'ten');
is(comes('shop', 'k6', coupon => 'ann', status => 'sale'), 'a coupon ann',
   'a browser\'s coupon gives way to the shop\'s');
comes('pixel', 'k7', customer => 'jim');
is(comes('shop', 'k7', customer => 'jon', coupon => 'ten', status => 'sale'),
   'b coupon bob', 'and so does a browser\'s customer');
comes('pixel', 'k8', click_id => click($a, day(99)));
is(comes('shop', 'k8', coupon => 'ten', status => 'sale'), 'a click ann',
   'but no click');
$t->ctl('coupon drop org=acme program=books code=TEN');
is(comes('shop', 'k5', coupon => 'ten'), 'none - -', 'which is dropped');
is(truth($t, 'k1')->{link}, 'b', 'and what it got stays');

# one that clicked all the time: few of them are looked at, for the same answer

my %end = (first => click($a, day(71)), last => click($link{b}, day(98)));
my @some = (values %end, click($a, day(69)),
            map { click($_ % 2 ? $a : $link{b}, day(72) + $_ * 3600) } 1 .. 600);
my @not = map { click($x, day($_ < 100 ? 70 : 99) + $_) } 1 .. 200;

$t->sql("insert into usher.customer_click
         select 'program/2', 'max', i, (usher.click_read(i)).clicked_at
         from unnest(?::text[]) i", [ @some, @not ]);

sub judged { $t->sql("select pg_stat_get_xact_numscans('usher.link'::regclass)
                      + pg_stat_get_xact_numscans('usher.link_pkey'::regclass)") }

for my $way (qw(first last)) {
    $t->sql('update usher.program set attribution = ?', $way);
    hear($t, 'shop', "max-$way", customer => 'max', at => day(100));
    $t->db->begin_work;
    my $before = judged();
    react($t);
    my $judged = judged() - $before;
    $t->db->commit;
    ok($judged > 200 && $judged < 250,
       "the $way of hundreds: those that may not be, and two") or diag($judged);
    is(truth($t, "max-$way")->{click_id}, $end{$way}, "which is the $way");
}

# a click alone, and what is forgotten

comes('shop', '', customer => 'amy', click_id => $c[1]);
is($t->sql("select count(*) from usher.conversion where customer = 'amy'"), 0,
   'without a transaction there is no conversion');
is(comes('shop', 'a1', customer => 'amy'), 'b customer bob',
   'but a click of the customer');
$t->sql("insert into usher.journal (slot, last_event)
         values (gen_random_uuid(), now())");
$t->sql("insert into usher.customer_click values
         ('program/1', 'old', 'x', now() - interval '401 days'),
         ('program/1', 'new', 'x', now() - interval '399 days')");
$t->sql('select usher.keep_prune()');
is($t->sql("select string_agg(customer, ' ') from usher.customer_click
            where click_id = 'x'"), 'new', 'clicks past every window go');

done_testing();
