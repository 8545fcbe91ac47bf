# Two calls about one thing at the same moment: the second waits, and then
# finds what the first has left.  Nothing is noted that was not done.

use lib 't/lib';
use Usher::Race;
use Usher::Secret qw(key_file put);
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
key_file($t, 'keys');

my $round = 'a';


# A network, program, product, campaign, partner and secret of a new name.

sub things {
    $round++;

    $t->sql("select api.network_create('acme', '$round', 'awin')");
    $t->sql("select api.program_create('acme', '$round', 'own', 'EUR')");
    $t->sql("select api.product_create('acme', '$round', '$round')");
    $t->sql("select api.campaign_create('acme', '$round')");
    $t->sql("select api.partner_create('acme', '$round')");
    put($t, "source/acme/$round", 'x');
}

sub call { "select api.$_[0]('acme', " . $_[1] =~ s/\bit\b/'$round'/gr . ')' }

sub notes { $t->sql('select count(*) from usher.audit') }

sub dropped { call("$_[0]_drop", $_[0] eq 'product' ? 'it, it' : 'it') }


for my $case (
    [ network => network_update => "it, title => 'x'" ],
    [ network => network_drop => 'it' ],
    [ network => program_create => "'new', 'network', 'EUR', it" ],
    [ campaign => campaign_update => "it, title => 'x'" ],
    [ partner => partner_update => "it, method => 'sepa'" ],
    [ partner => partner_disable => 'it' ],
    [ partner => partner_enable => 'it' ],
    [ partner => partner_join => 'it, it' ],
    [ product => product_update => "it, it, title => 'x'" ],
    [ product => product_drop => 'it, it' ],
) {
    my ($noun, $function, $arguments) = @$case;

    things();

    my $was = notes();
    my ($made, $got) = both($t, 'commit', dropped($noun),
                            call($function, $arguments));

    is($got, 'US404', "$function of a $noun that is dropped");
    is(notes(), $was + 1, 'notes nothing');
}

# what has a product is not dropped, so a program of its own

for my $case ([ program_update => "it, title => 'x'" ], [ program_disable => 'it' ],
              [ program_enable => 'it' ], [ product_create => "it, 'new'" ])
{
    my ($function, $arguments) = @$case;

    things();
    $t->sql(dropped('product'));

    is((both($t, 'commit', dropped('program'), call($function, $arguments)))[1],
       'US404', "$function of a program that is dropped");
}

things();

my $secret = "select api.secret_drop('source', '$round', 'acme')";
is((both($t, 'commit', $secret, $secret))[1], 'US404', 'a secret is dropped once');

# what the first only looked at or changed is there, with both changes

things();

my ($made, $got) = both($t, 'rollback', dropped('network'),
                        call('network_update', "it, title => 'x'"));
like($got, qr/"title": "x"/, 'where the first gives up, the second does it');

($made, $got) = both($t, 'commit', call('program_update', "it, title => 'x'"),
                     call('program_update', 'it, hold => 3'));
like($got, qr/"hold": 3.*"title": "x"/, 'two changes of one program');

($made, $got) = both($t, 'commit', call('product_create', "it, 'new'"),
                     dropped('program'));
is($got, 'US409', 'a program that a product came to meanwhile stays');

done_testing();
