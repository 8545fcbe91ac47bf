# The rules that the tables of programs keep, whoever writes.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->sql('set role usher_owner');
$t->sql("insert into usher.org (name) values ('acme'), ('beta')");

# network 1 and 2 of acme, 3 of beta

$t->sql("insert into usher.network (org_id, name, preset, plain)
         values (1, 'awin', 'awin', false), (1, 'amazon', 'amazon', true),
                (2, 'awin', 'awin', false)");


# What refuses a row, its columns given as SQL in place of those that may be.

my %may = (
    network => { org_id => 1, name => "'n'", preset => "'cj'" },
    program => { org_id => 1, name => "'n'", side => "'own'",
                 currency => "'EUR'" },
    product => { org_id => 1, program_id => 1, name => "'n'" },
    campaign => { org_id => 1, name => "'n'" },
    partner => { org_id => 1, name => "'n'" },
    program_partner => { org_id => 1, program_id => 1, partner_id => 1 },
);

sub row {
    my ($table, %column) = @_;

    my %all = (%{ $may{$table} }, %column);

    return sprintf 'insert into usher.%s (%s) values (%s)', $table,
        join(', ', sort keys %all), join(', ', map { $all{$_} } sort keys %all);
}


# programs 1 and 2 of acme, own and of a network; 3 of beta; a partner of each

$t->sql(row('program', name => "'own'"));
$t->sql(row('program', name => "'net'", side => "'network'", network_id => 1));
$t->sql(row('program', name => "'other'", org_id => 2));
$t->sql(row('product', name => "'book'", sku => "'1'"));
$t->sql(row('partner', name => "'ann'", org_id => $_)) for 1, 2;

for my $table (sort keys %may) {
    is(refused($t, row($table)), '', "a $table as it may be");

    next if $table eq 'program_partner';
    like(refused($t, row($table, name => "'$_'")), qr/${table}_name_check/,
         "no $table is called '$_'") for '', 'Acme', '-a', 'a' x 33;
}

my %net = (side => "'network'", network_id => 1);
my %amazon = (side => "'network'", network_id => 2, plain => 'true');

for my $case (
    # the two sides

    [ 'program', { side => "'both'" }, 'side_check' ],
    [ 'program', { side => "'network'" }, 'program_side', 'without a network' ],
    [ 'program', { network_id => 1 }, 'program_side', 'own of a network' ],
    [ 'program', { %net }, '' ],
    [ 'program', { %net, network_id => 3 }, 'program_network',
      'of another org\'s network' ],
    [ 'program', { %net, hold_days => 1 }, 'program_hold', 'nothing is held' ],
    [ 'program', { hold_days => 1 }, '' ],
    [ 'program_partner', { program_id => 2 }, 'program_partner_own',
      'partners of what is not ours' ],
    [ 'program_partner', { program_id => 2, side => "'network'" },
      'side_check', 'whatever it says' ],
    [ 'program_partner', { program_id => 3 }, 'program_partner_own',
      'another org\'s program' ],
    [ 'program_partner', { partner_id => 2 }, 'program_partner_partner',
      'another org\'s partner' ],
    [ 'product', { program_id => 3 }, 'product_program',
      'another org\'s program' ],

    # what a network forbids

    [ 'network', { plain => 'true' }, 'plain', 'as its preset says' ],
    [ 'network', { preset => "'amazon'" }, 'plain', 'amazon is' ],
    [ 'network', { preset => "'nobody'" }, 'preset' ],
    [ 'program', { %amazon, mode => "'plain'" }, '' ],
    [ 'program', { %amazon }, 'program_plain', 'a redirect' ],
    [ 'program', { %amazon, plain => 'false' }, 'program_network' ],
    [ 'program', { plain => 'true', mode => "'plain'" }, 'program_plain' ],

    # forms

    [ 'network', { sub_id => "'a=b'" }, 'sub_id_check' ],
    [ 'network', { sub_id_pattern => "'a+'" }, 'sub_id_pattern_check' ],
    [ 'network', { sub_id_pattern => "'[" . 'a-z' x 71 . "]'" },
      'sub_id_pattern_check', 'a pattern that has no end' ],
    [ 'network', { sub_id_length => 1001 }, 'sub_id_length_check' ],
    [ 'network', { deep_link => "''" }, 'deep_link_check' ],
    [ 'program', { currency => "'EUX'" }, 'program_currency_fkey' ],
    [ 'program', { currency => "'eur'" }, 'program_currency_fkey' ],
    [ 'product', { price => 1, currency => "'EUX'" },
      'product_currency_fkey' ],
    [ 'partner', { currency => "'EUX'" }, 'partner_currency_fkey' ],
    [ 'program', { mode => "'cloak'" }, 'mode_check' ],
    [ 'program', { attribution => "'any'" }, 'attribution_check' ],
    [ 'program', { window_days => 0 }, 'window_days_check' ],
    [ 'program', { hold_days => 367 }, 'hold_days_check' ],
    [ 'product', { price => 1 }, 'product_price' ],
    [ 'product', { currency => "'EUR'" }, 'product_price' ],
    [ 'product', { price => -1, currency => "'EUR'" }, 'price_check' ],
    [ 'product', { sku => "e'a\\nb'" }, 'sku_check' ],
    [ 'product', { sku => "'1'" }, 'product_sku', 'a SKU is one product\'s' ],
    [ 'product', { name => "'book'" }, 'program_id_name' ],
    [ 'campaign', { starts_at => "'2026-01-02'", ends_at => "'2026-01-02'" },
      'campaign_order' ],
    [ 'campaign', { starts_at => "'-infinity'" }, 'starts_at_check' ],
    [ 'campaign', { ends_at => "'infinity'" }, 'ends_at_check' ],
    [ 'partner', { kind => "'club'" }, 'kind_check' ],
    [ 'partner', { email => q('a b@c') }, 'email_check' ],
    [ 'partner', { tax_id => "'-1'" }, 'tax_id_check' ],
    [ 'partner', { terms => "'v1'" }, 'partner_terms' ],
    [ 'partner', { terms_at => 'now()' }, 'partner_terms' ],
    [ 'partner', { payout_method => "'de89370400440532013000'" },
      'payout_method_check', 'no account is a method' ],
    [ 'partner', { payout_min => 1 }, 'partner_min' ],
    [ 'partner', { payout_min => -1, currency => "'EUR'" },
      'payout_min_check' ],
) {
    my ($table, $column, $by, $what) = @$case;
    my $shown = $what // join ', ', map { "$_=$column->{$_}" } sort keys %$column;

    $by ? like(refused($t, row($table, %$column)), qr/"\w*$by\w*"/, "$table: $shown")
        : is(refused($t, row($table, %$column)), '', "$table: it may be $shown");
}

# deep links

for my $hosts (q(example.com), q(*.example.com), q(a-b.example.co.uk,x.de),
               q(xn--bcher-kva.example), q())
{
    is(refused($t, row('program', hosts => "'{$hosts}'")), '', "hosts {$hosts}");
}

for my $hosts ('*', '*.com', 'com', 'Example.com', 'a.*.example.com',
               '*example.com', 'example.com.', '.example.com', 'example..com',
               '-a.example.com', 'a_b.example.com', '10.0.0.1', 'example.com:80',
               'example.com/x', 'https://example.com', 'a.b,NULL', '{a.b},{c.d}',
               'ex ample.com', ('a' x 64) . '.com',
               join(',', map { "host$_.example.com" } 1 .. 100))
{
    like(refused($t, row('program', hosts => "'{$hosts}'")),
         qr/program_hosts_check/, 'no hosts: ' . substr $hosts, 0, 30);
}

# what somebody refers to stays, and stays what it is

$t->sql(row('program_partner'));

for my $case (
    [ "update usher.program set side = 'network', network_id = 1
       where id = 1", 'program_partner_own', 'a side with partners' ],
    [ "update usher.program set org_id = 2 where id = 1", 'violates foreign key',
      'an org with products' ],
    [ 'delete from usher.network where id = 1', 'program_network', 'a network' ],
    [ 'delete from usher.program where id = 1', 'violates foreign key',
      'a program' ],
    [ 'delete from usher.partner where id = 1', 'program_partner_partner',
      'a partner' ],
) {
    like(refused($t, $case->[0]), qr/$case->[1]/, "$case->[2] stays");
}

# a preset that forbids it from now on

is(refused($t, "update usher.program set mode = 'plain' where id = 2;
                update usher.network_preset set plain = true
                where name = 'awin'"), '', 'told by the preset');
like(refused($t, "update usher.network_preset set plain = true
                  where name = 'awin'"), qr/program_plain/,
     'not while there are redirects');

# what was earned is in its currency

like(refused($t, "update usher.program set currency = 'USD' where id = 1"),
     qr/currency of program "own" stays EUR\nHINT:.* another program/,
     'a currency stays');
is(refused($t, "update usher.program set currency = 'EUR', title = 'x'"), '',
   'which is no matter otherwise');

done_testing();
