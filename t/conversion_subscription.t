# Payments of a subscription go where its first one went, whatever the window
# and whatever was clicked since; and what a browser's cookie has is presented.

use lib 't/lib';
use Usher::Conversion;
use Usher::Race;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);
my ($a, $b, $s) = @link{qw(a b s)};

$t->ctl($_) for split /\n/, <<'END';
network create org=acme name=cb preset=clickbank
program create org=acme name=cb side=network network=cb currency=EUR
link add host=go.acme.example slug=cb url=https://x.example/?tid={click_id} program=cb
END
$t->sql("insert into usher.postback (org_id, name, network_id, endpoint)
         select org_id, 'cb', id, 'https://a.example/p' from usher.network where name = 'cb'");

my $cb = $t->sql("select id from usher.link where slug = 'cb'");

# link, way and partner, and the subscription

sub comes {
    my ($postback, $transaction, %with) = @_;

    tell($t, $postback, $transaction, %with);
    return is_now($transaction);
}

sub is_now {
    my $c = truth($t, $_[0]) // return 'not there';

    return join ' ', $c->{link}, $c->{via} // '-', $c->{partner} // '-';
}

# renewals

is(comes('shop', 'a1', at => day(100), click_id => click($a, day(99)), subscription => 'S1',
         status => 'sale'), 'a click ann', 'the first payment');
is(comes('shop', 'a2', at => day(300), subscription => 'S1', status => 'sale'),
   'a renewal ann', 'another, long after the window');
is(comes('shop', 'a3', at => day(301), subscription => 'S1', click_id => click($b, day(300))),
   'a renewal ann', 'or after a click of another partner');
is(comes('shop', 'a4', at => day(302), subscription => 'S1', click_id => click($b, day(300)),
         click_status => 4), 'a renewal ann', 'or one that is forged');
is(comes('shop', 'a5', at => day(302), subscription => 's1'), 'none - -', 'capitals matter');
is(comes('net', 'a6', at => day(302), subscription => 'S1'), 'none - -',
   'another network knows nothing of it');
tell($t, 'shop', 'a1', at => day(310), status => 'refund');
is(comes('shop', 'a7', at => day(320), subscription => 'S1'), 'a renewal ann',
   'though the first was taken back');
is($t->ctl('conversion show org=acme program=books transaction=a7')->{subscription}, 'S1', 'shown');

# in whatever order they are heard of

is(comes('shop', 'b2', at => day(150), subscription => 'S2'), 'none - -', 'a payment before the first');
is(comes('shop', 'b1', at => day(151), subscription => 'S2', click_id => click($b, day(150))),
   'b click bob', 'the first');
is(is_now('b2'), 'b renewal bob', 'is that of both');
tell($t, 'shop', 'b3', at => day(152), status => 'sale');
is(comes('shop', 'b3', at => day(153), subscription => 'S2'), 'b renewal bob', 'it may be told later');
is(comes('pixel', 'c1', click_id => click($a, day(99)), subscription => 'S3'), 'a click ann',
   'what a browser says');
is(comes('shop', 'c2', subscription => 'S3'), 'none - -', 'makes no subscription');
tell($t, 'shop', 'c1', status => 'sale');
is(is_now('c2'), 'a renewal ann', 'until the shop does');

# two at once

hear($t, 'shop', 'd1', at => day(100), subscription => 'S4', click_id => click($a, day(99)));
hear($t, 'shop', 'd2', at => day(200), subscription => 'S4');
both($t, 'commit', map { "select usher.react_conversion(jsonb_build_object('received_at', e.received_at,
     'postback_id', e.postback_id, 'transaction_id', e.transaction_id, 'digest', encode(e.digest, 'hex')))
     from usher.conversion_event e where e.transaction_id = '$_'" } 'd1', 'd2');
is(is_now('d2'), 'a renewal ann', 'two at once: one after the other');

# as networks write it

is(comes('cb', 'ABCD1234', click_id => click($cb, day(99)), subscription => 'ABCD1234', status => 'SALE'),
   'cb click -', 'ClickBank');
is(comes('cb', 'ABCD1234-B002', at => day(200), subscription => 'ABCD1234-B002', status => 'BILL'),
   'cb renewal -', 'its rebills have its receipt');
is(comes('cb', 'ABCD1235-B002', at => day(200), subscription => 'ABCD1235-B002'), 'none - -',
   'another receipt is another');
is($t->sql("select string_agg(s.parameters->>'subscription', ' ' order by s.preset)
            from (select name as preset, parameters from usher.network_preset
                  where jsonb_exists(parameters, 'subscription')) s"), 'receipt order_id', 'who sends one');
$t->ctl('conversion', 'import', 'org=acme', 'program=books', 'csv=@' . $t->write_file('r.csv',
    "transaction_id,status,subscription,time\ni1,sale,S1,2026-12-01\n"));
is(is_now('i1'), 'a renewal ann', 'a report tells it as well');

# what is none

for my $none (qw({subscription} <subscription> !!!order!!! %id% [id] #id# 0 000 - -- NULL None undefined)) {
    tell($t, 'shop', "first $none", at => day(100), subscription => $none, click_id => click($a, day(99)));
    is(comes('shop', "second $none", at => day(100), subscription => $none), 'none - -',
       "no subscription: $none");
}

# a cookie: all of its clicks are presented, the newest as that of the message

my ($old, $first, $last) = (click($b, day(50)), click($a, day(97)), click($b, day(98)));
my %cookie = (click_id => $last, cookie => "$old.$first.$last");

is(comes('pixel', 'p1', %cookie), 'b click bob', 'the last click of a cookie');
$t->ctl('program update org=acme program=books attribution=first');
is(comes('pixel', 'p2', %cookie), 'a click ann', 'or the first within the window');
is(truth($t, 'p2')->{click_id}, $first, 'which is its click');
my $other = click($s, day(99));
is(comes('pixel', 'p3', click_id => $other, cookie => "$last.$other"), 'b click bob',
   'what is of another program is passed over');
is(comes('pixel', 'p4', click_id => $other, cookie => "$old.$other"), 'other_program - -',
   'where there is none the newest says why');
tell($t, 'pixel', 'p5', %cookie, customer => 'kim');
is(comes('shop', 'p6', customer => 'kim'), 'a customer ann', 'presented for the customer as well');

done_testing();
