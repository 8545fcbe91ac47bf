# The books of util/chaos: they must find a click that went elsewhere or counts
# twice, a word that was lost or doubled, a conversion and money that are not
# what was said.

use v5.36;

use FindBin;
use lib "$FindBin::Bin/../util/chaos.d", "$FindBin::Bin/lib";
use Storable qw(dclone);
use Test::More;

use Books;

# Ids of clicks on link 7 and 8, by version, key, second, link and counter.

sub click_id ($link, $n) {
    my $bits = unpack 'B*', pack 'CNNNa7', 0x10, 1_700_000_000, $link, $n, '';

    return join '', map { ('a' .. 'z', 2 .. 7)[oct "0b$_"] } $bits =~ /.{5}/g;
}


sub row ($sub1, $n, $visitor, %with) {
    return { sub1 => $sub1, click_id => click_id(7, $n), slug => 'shoes',
        link_id => 7, target => 0, reason => 0, final => 0,
        visitor => $visitor, %with };
}


sub seen ($n, $agent, %with) {
    return { slug => 'shoes', agent => $agent, status => 302,
        location => 'https://shop.example/shoes?c=' . click_id(7, $n), %with };
}


sub try ($id, $at, $status = 200) {
    return { id => $id, sent => $at, ended => $at + 1, status => $status };
}


# Two visitors, of whom one came twice and was at two nodes; a robot.  A sale
# that was approved, one by a coupon that a pixel told first, a forged one.

my %world = (
    links => { shoes => { id => 7, targets => { 0 => 'shoes' } } },
    clicks => {
        'c-l1' => seen(1, 'p1'), 'c-l2' => seen(2, 'p1'),
        'c-l3' => seen(3, 'p2'), 'c-l4' => seen(4, 'b1'),
        'c-l5' => { slug => 'shoes', agent => 'p3', status => 503 },
    },
    shop => { odd => [], sales => [
        { id => 's1', source => 'net', currency => 'EUR', slug => 'shoes',
          click => click_id(7, 1), words => [
            { origin => 'postback', status => 'pending', amount => 500,
              tries => [ try('v1', 10, 0), try('v2', 12) ] },
            { origin => 'postback', status => 'approved', amount => 700,
              tries => [ try('v3', 20), try('v4', 30) ] },
            { origin => 'postback', status => 'reversed', amount => 700,
              tries => [] } ] },
        { id => 's2', source => 'own', currency => 'EUR', coupon => 'ann10',
          words => [
            { origin => 'pixel', status => '', amount => 900,
              tries => [ try('v5', 10) ] },
            { origin => 'postback', status => 'sale', amount => 800,
              tries => [ try('v6', 20) ] } ] },
        { id => 's3', source => 'net', currency => 'USD', slug => 'shoes',
          click => 'x', reason => 'forged', words => [
            { origin => 'postback', status => 'pending', amount => 100,
              tries => [ try('v7', 10) ] },
            { origin => 'postback', status => 'reversed', taken_back => 1,
              tries => [ try('v8', 20, 0) ] } ] },
    ] },
    rows => {
        clicks => [ row('c-l1', 1, 'a'), row('c-l2', 2, 'a', final => 21),
            row('c-l3', 3, 'b'),
            row('c-l4', 4, 'c', reason => 11, final => 11) ],
        counted => [ { reason => 0 }, { reason => 42 } ],
        sums => [ { what => '7 0', n => 2 }, { what => '7 21', n => 1 },
            { what => '7 11', n => 1 } ],
        net => [ { n => 2 } ],
        events => [
            event('s1', 'v2', 'pending', 12.5), event('s1', 'v3', 'approved',
                20.5), event('s2', 'v5', '', 10.5, origin => 'pixel'),
            event('s2', 'v6', 'sale', 20.5), event('s3', 'v7', 'pending',
                10.5) ],
        conversions => [
            conversion('s1', state => 'approved', amount => 700,
                slug => 'shoes', via => 'click', click_id => click_id(7, 1),
                changes => 2),
            conversion('s2', state => 'approved', sale_amount => 800,
                slug => 'ann', via => 'coupon', partner => 'ann',
                changes => 2),
            conversion('s3', state => 'pending', amount => 100,
                currency => 'USD', reason => 'forged', changes => 1) ],
        revenue => [ { transaction_id => 's1', currency => 'EUR', n => 700 } ],
        balances => [ { kind => 'asset', currency => 'EUR', n => 700 },
            { kind => 'revenue', currency => 'EUR', n => -700 } ],
        commissions => [ { transaction_id => 's2', n => 100, paid => 100 } ],
        payouts => [ { currency => 'EUR', n => 100, count => 1 } ],
        owed => [],
        given_up => [],
    },
);


sub event ($sale, $id, $status, $at, %with) {
    return { transaction_id => $sale, request_id => $id, status => $status,
        at => $at, since => $at, origin => 'postback', %with };
}


sub conversion ($sale, %with) {
    return { transaction_id => $sale, confirmed => 1, currency => 'EUR',
        %with };
}


# What the books say is wrong once something was changed.

sub wrong ($change) {
    my $books = Books->new(%{ dclone(\%world) });

    $change->($books, $books->{rows}, $books->{shop}{sales});
    my %of = map { $_->[0] => 1 } @{ $books->judge };

    return join ' ', sort keys %of;
}


sub spoilt ($change, $what, $name) {
    is(wrong($change), $what, $name);
}


spoilt(sub { }, '', 'all is well');

spoilt(sub ($b, $r, $s) { $r->{clicks}[2]{target} = 1 }, 'clicks',
       'another target than he was sent to');
spoilt(sub ($b, $r, $s) { $r->{clicks}[2]{click_id} = click_id(7, 9) },
       'clicks', 'another id');
spoilt(sub ($b, $r, $s) { $r->{clicks}[3]{click_id} = click_id(7, 3);
                          delete $b->{clicks}{'c-l4'}{location} },
       'click ids', 'one id twice');
spoilt(sub ($b, $r, $s) { $r->{clicks}[2]{click_id} = '';
                          @{ $b->{clicks}{'c-l3'} }{qw(location took)}
                          = ('https://shop.example/shoes?c=', 0.01) },
       'click ids', 'no id, though nobody waited for the key');
spoilt(sub ($b, $r, $s) { $r->{clicks}[2]{click_id} = '';
                          @{ $b->{clicks}{'c-l3'} }{qw(location took)}
                          = ('https://shop.example/shoes?c=', 0.06) }, '',
       'none after waiting for it');
spoilt(sub ($b, $r, $s) { $r->{clicks}[2]{link_id} = 8;
                          $r->{sums} = [ @{ $r->{sums} },
                                         { what => '8 0', n => 1 } ];
                          $r->{sums}[0]{n} = 1 }, 'clicks', 'another link');
spoilt(sub ($b, $r, $s) { $b->{clicks}{'c-l5'}{status} = 404 }, 'answers',
       'a link that was not known');
spoilt(sub ($b, $r, $s) { $r->{clicks}[1]{final} = 0; $r->{sums}[0]{n} = 3;
                          $r->{sums}[1]{n} = 0; $r->{net}[0]{n} = 3 },
       'visitors', 'who came again counts twice');
spoilt(sub ($b, $r, $s) { $r->{clicks}[0]{final} = 21; $r->{sums}[0]{n} = 1;
                          $r->{sums}[1]{n} = 2; $r->{net}[0]{n} = 1 },
       'visitors', 'or not at all');
spoilt(sub ($b, $r, $s) { $r->{clicks}[2]{visitor} = 'a' }, 'visitors',
       'two with one hash');
spoilt(sub ($b, $r, $s) { $r->{clicks}[3]{reason} = 0 }, 'reasons visitors',
       'a robot that is a person');
spoilt(sub ($b, $r, $s) { $r->{sums}[1]{n} = 2 }, 'sums', 'a sum');
spoilt(sub ($b, $r, $s) { $r->{net}[0]{n} = 3 }, 'sums', 'the net sum');

spoilt(sub ($b, $r, $s) { splice @{ $r->{events} }, 4, 1;
                          splice @{ $r->{conversions} }, 2, 1 }, 'events',
       'a word that was answered is lost');
spoilt(sub ($b, $r, $s) { push @{ $r->{events} },
                          event('s1', 'v4', 'approved', 30.5);
                          $r->{conversions}[0]{changes}++ },
       'conversions events', 'one is there twice');
spoilt(sub ($b, $r, $s) { $r->{events}[0]{at} = 15 }, 'events',
       'at no moment at which it was said');
spoilt(sub ($b, $r, $s) { $r->{events}[0]{status} = 'lead' },
       'conversions events', 'nobody said so');
spoilt(sub ($b, $r, $s) { @{ $r->{events}[0] }{qw(request_id at)}
                          = ('v1', 10.5) }, '',
       'what was not answered may have come');
spoilt(sub ($b, $r, $s) { push @{ $r->{events} },
                          event('s3', 'v8', 'reversed', 20.5);
                          @{ $r->{conversions}[2] }{qw(state changes)}
                          = ('reversed', 2) }, '',
       'and then is true');

spoilt(sub ($b, $r, $s) { $r->{conversions}[0]{$_->[0]} = $_->[1] },
       'conversions', "another $_->[0]")
    for [state => 'pending'], [amount => 500], [currency => 'USD'],
        [slug => 'split'], [click_id => 'y'], [confirmed => 0],
        [changes => 3];
spoilt(sub ($b, $r, $s) { $r->{conversions}[1]{sale_amount} = 900 },
       'conversions', 'what a pixel says once the shop has told');
spoilt(sub ($b, $r, $s) { $r->{conversions}[2]{reason} = 'none' },
       'conversions', 'another reason');
spoilt(sub ($b, $r, $s) { push @{ $r->{conversions} }, conversion('s4') },
       'conversions', 'one that nobody told of');

# the later of two words is the one that was said later

spoilt(sub ($b, $r, $s) {
    @{ $r->{events}[0] }{qw(request_id at since)} = ('v9', 40.5, 40.5);
    $s->[0]{words}[0]{tries} = [ try('v2', 12, 0), try('v9', 40) ];
    @{ $r->{conversions}[0] }{qw(state amount)} = ('pending', 500);
    $r->{revenue} = [];
    $r->{balances} = [] }, '', 'the last word holds');

# whichever of its copies is the row, a word counts from the first that was
# answered

spoilt(sub ($b, $r, $s) {
    @{ $r->{events}[0] }{qw(request_id at)} = ('v9', 40.5);
    push @{ $s->[0]{words}[0]{tries} }, try('v9', 40) }, '',
       'a copy that was stored first');
spoilt(sub ($b, $r, $s) {
    @{ $r->{events}[0] }{qw(request_id at since)} = ('v9', 40.5, 40.5);
    push @{ $s->[0]{words}[0]{tries} }, try('v9', 40) },
       'conversions events revenue', 'that counts from later');
spoilt(sub ($b, $r, $s) { $r->{events}[0]{since} = 5 }, 'events',
       'that counts from before');

spoilt(sub ($b, $r, $s) { $r->{revenue}[0]{n} = 1400 }, 'revenue',
       'booked twice');
spoilt(sub ($b, $r, $s) { $r->{revenue} = [] }, 'revenue', 'or not at all');
spoilt(sub ($b, $r, $s) { $r->{balances}[0]{n} = 0 }, 'ledger',
       'nobody owes it');
spoilt(sub ($b, $r, $s) { $r->{commissions}[0]{n} = 101 }, 'commissions',
       'a cent too much is earned');
spoilt(sub ($b, $r, $s) { $r->{commissions} = [] }, 'commissions payouts',
       'or nothing');
spoilt(sub ($b, $r, $s) { $r->{payouts}[0]{n} = 200 }, 'ledger payouts',
       'paid twice');
spoilt(sub ($b, $r, $s) { $r->{commissions}[0]{paid} = 0; $r->{payouts} = [] },
       'ledger payouts', 'or not at all');
spoilt(sub ($b, $r, $s) { $r->{owed} = [ { currency => 'EUR', n => -5 } ] },
       'ledger', 'something is owed to a partner');
spoilt(sub ($b, $r, $s) { $r->{given_up} = [ { what => 'todo.given_up' } ] },
       'notifications', 'something was given up');
spoilt(sub ($b, $r, $s) { push @{ $b->{shop}{odd} }, 'v1: 404' }, 'answers',
       'a postback that was not known');

done_testing();
