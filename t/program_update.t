# Networks, programs, products, campaigns, partners: what changes a thing
# changes what it is given, and leaves all else in the database as it was; and
# what is dropped is gone.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl("network create org=$org name=awin preset=awin title=old sub_id=s "
            . 'sub_id_pattern=[a-z0-9] sub_id_length=40 deep_link=d');
    $t->ctl("network create org=$org name=spare preset=cj");
    $t->ctl("program create org=$org name=$_ side=own currency=EUR title=old "
            . 'hosts=www.example.com attribution=first window=7 hold=3 terms=v1')
        for qw(shop spare);
    $t->ctl("product create org=$org program=shop name=$_ title=old sku=$_ "
            . 'price=1.00 currency=USD') for qw(book pen);
    $t->ctl("product create org=$org program=shop name=bare");
    $t->ctl("campaign create org=$org name=$_ title=old starts=2026-01-01 "
            . 'ends=2026-02-01') for qw(spring autumn);
    $t->ctl("partner create org=$org name=$_ kind=person email=a\@b.c tax_id=1 "
            . 'terms=v1 method=sepa minimum=5.00 currency=EUR') for qw(ann bob);
    $t->ctl("partner join org=$org partner=ann program=$_") for qw(shop spare);
}

$t->sql("set timezone = 'UTC'");

my @tables = qw(network program product campaign partner);


# Every column of every row by its place: "program 1 title".

sub world {
    return map { my $table = $_;
                 my $id = $table eq 'program_partner'
                     ? "partner_id || '-' || program_id" : 'id';
                 map { ("$table $_->[0]" => $_->[1] // 'null') }
                 $t->rows("select $id || ' ' || c.key, c.value
                           from usher.$table r, jsonb_each_text(to_jsonb(r)) c")
           } @tables, 'program_partner';
}


# What a call changes: { place => new value }, undef where a place is gone; the
# call is undone.

sub changes {
    my ($function, %args) = @_;

    $t->db->begin_work;

    my %was = world();
    my @names = sort keys %args;

    $t->sql("select api.$function("
            . join(', ', map { qq{"$_" => ?} } @names) . ')', @args{@names});

    my %is = world();

    $t->db->rollback;

    return { map { ($was{$_} // '-') eq ($is{$_} // '-') ? () : ($_ => $is{$_}) }
             keys %was, keys %is };
}


my $at = '2090-01-01T00:00:00+00:00';

for my $case (
    [ 'network_update', { network => 'awin' }, {
        title => [ 'new', 'network 1 title' ],
        sub_id => [ 't', 'network 1 sub_id' ],
        sub_id_pattern => [ '[a-z]', 'network 1 sub_id_pattern' ],
        sub_id_length => [ 50, 'network 1 sub_id_length' ],
        deep_link => [ 'u', 'network 1 deep_link' ] } ],
    [ 'network_update', { network => 'awin' }, {
        title => [ '', 'network 1 title' ],
        sub_id => [ '', 'network 1 sub_id', 'null' ],
        sub_id_pattern => [ '', 'network 1 sub_id_pattern', 'null' ],
        sub_id_length => [ 0, 'network 1 sub_id_length', 'null' ],
        deep_link => [ '', 'network 1 deep_link', 'null' ] } ],
    [ 'program_update', { program => 'shop' }, {
        title => [ 'new', 'program 1 title' ],
        hosts => [ 'B.example.com, *.a.example.com', 'program 1 hosts',
                   '["*.a.example.com", "b.example.com"]' ],
        mode => [ 'plain', 'program 1 mode' ],
        attribution => [ 'last', 'program 1 attribution' ],
        window => [ 9, 'program 1 window_days' ],
        hold => [ 0, 'program 1 hold_days' ],
        terms => [ '', 'program 1 terms' ] } ],
    [ 'program_update', { program => 'shop' }, {
        hosts => [ '', 'program 1 hosts', '[]' ] } ],
    [ 'product_update', { program => 'shop', product => 'book' }, {
        title => [ 'new', 'product 1 title' ],
        sku => [ '', 'product 1 sku' ],
        price => [ 0, 'product 1 price' ],
        currency => [ 'CHF', 'product 1 currency' ] } ],
    [ 'campaign_update', { campaign => 'spring' }, {
        title => [ 'new', 'campaign 1 title' ],
        starts => [ '2025-01-01T00:00:00+00:00', 'campaign 1 starts_at' ],
        ends => [ $at, 'campaign 1 ends_at' ] } ],
    [ 'campaign_update', { campaign => 'spring' }, {
        ends => [ 'infinity', 'campaign 1 ends_at', 'null' ] } ],
    [ 'partner_update', { partner => 'ann' }, {
        kind => [ 'company', 'partner 1 kind' ],
        email => [ 'd@e.f', 'partner 1 email' ],
        tax_id => [ '2', 'partner 1 tax_id' ],
        method => [ 'paypal', 'partner 1 payout_method' ],
        minimum => [ 0, 'partner 1 payout_min' ],
        currency => [ 'USD', 'partner 1 currency' ] } ],
    [ 'partner_update', { partner => 'ann' }, {
        email => [ '', 'partner 1 email', 'null' ],
        tax_id => [ '', 'partner 1 tax_id', 'null' ],
        method => [ '', 'partner 1 payout_method' ] } ],
) {
    my ($function, $what, $args) = @$case;

    for my $arg (sort keys %$args) {
        my ($value, $place, $new) = @{ $args->{$arg} };

        is_deeply(changes($function, org => 'acme', %$what, $arg => $value),
                  { $place => $new // $value }, "$function $arg=$value");
    }

    is_deeply(changes($function, org => 'acme', %$what), {},
              '... nothing given, nothing changed');
}

is_deeply(changes('product_update', org => 'acme', program => 'shop',
                  product => 'bare', price => '0.05'),
          { 'product 3 price' => 5, 'product 3 currency' => 'EUR' },
          'a price is in the program\'s currency, if none is given');
is_deeply(changes('product_update', org => 'acme', program => 'shop',
                  product => 'book', price => ''),
          { 'product 1 price' => 'null', 'product 1 currency' => 'null' },
          'or is not known any more');
is_deeply(changes('product_update', org => 'acme', program => 'shop',
                  product => 'book', currency => 'JPY'),
          { 'product 1 price' => 1, 'product 1 currency' => 'JPY' },
          'what stays is what it says');
is_deeply(changes('partner_update', org => 'acme', partner => 'ann',
                  currency => 'JPY'),
          { 'partner 1 payout_min' => 5, 'partner 1 currency' => 'JPY' },
          '... of a minimum too');
is($t->ctl('product show org=acme program=shop product=book')->{price}, '1.00',
   'a price as it was given');
is($t->ctl('partner show org=acme partner=ann')->{minimum}, '5.00',
   'and a minimum');

my $terms = changes('partner_update', org => 'acme', partner => 'ann',
                    terms => 'v2');
ok(delete $terms->{'partner 1 terms_at'}, 'terms are accepted at a moment');
is_deeply($terms, { 'partner 1 terms' => 'v2' }, 'and are the new ones');
is_deeply(changes('partner_update', org => 'acme', partner => 'ann', terms => ''),
          { 'partner 1 terms' => 'null', 'partner 1 terms_at' => 'null' },
          'or none any more');

# off and on

for my $case ([ 'program', program => 'shop' ], [ 'partner', partner => 'ann' ]) {
    my ($noun, @what) = @$case;
    my @args = (org => 'acme', @what);

    is_deeply([ sort keys %{ changes("${noun}_disable", @args) } ],
              [ "$noun 1 disabled_at" ], "a $noun is disabled, as it is");
    $t->ctl("$noun disable org=acme $what[0]=$what[1]");
    is($t->ctl("$noun show org=acme $what[0]=$what[1]")->{state}, 'disabled',
       '... and says so');
    is_deeply(changes("${noun}_disable", @args), {}, '... once');
    is_deeply(changes("${noun}_enable", @args),
              { "$noun 1 disabled_at" => 'null' }, '... and enabled');
}

# joined, and gone

sub gone {
    my ($function, %args) = @_;

    my $changes = changes($function, org => 'acme', %args);
    my %row = map { /^(\S+ \S+)/ => 1 } keys %$changes;

    return join ' ', (grep { defined } values %$changes) ? 'changed' : (),
                     sort keys %row;
}


is(gone('partner_leave', partner => 'ann', program => 'shop'),
   'program_partner 1-1', 'who leaves one program stays in the others');
is(gone('product_drop', program => 'shop', product => 'book'), 'product 1',
   'a product');
is(gone('campaign_drop', campaign => 'spring'), 'campaign 1', 'a campaign');
is(gone('partner_drop', partner => 'bob'), 'partner 2', 'a partner');
is(gone('network_drop', network => 'spare'), 'network 2', 'a network');
$t->ctl('partner leave org=acme partner=ann program=spare');
is(gone('program_drop', program => 'spare'), 'program 2', 'a program');
is(gone('partner_join', partner => 'bob', program => 'spare'),
   'changed program_partner 2-2', 'who joins is there');
is($t->ctl('partner join org=acme partner=bob program=spare')->{programs},
   'spare', 'in that program');

done_testing();
