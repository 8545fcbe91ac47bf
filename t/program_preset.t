# What is known of networks: each preset takes a click id or says that it does
# not, and a program whose network does not is refused for tracked links.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');

my $alphabet = join '', 'a' .. 'z', 2 .. 7;
my %preset = map { $_->{name} => $_ } @{ $t->ctl('preset list') };

is(join(' ', sort keys %preset),
   'amazon awin cj clickbank digistore24 everflow generic impact rakuten '
   . 'shareasale tradedoubler tradetracker tune webgains', 'the presets');


# Whether the links of a program with this network can be tracked; the message
# if not.

sub untracked {
    my ($network) = @_;

    my $side = $network ? "side=network network=$network" : 'side=own';

    $t->ctl("program create org=acme name=tried currency=EUR $side");

    my $ok = eval { $t->sql("select usher.tracked_ok(p) from usher.program p
                             where p.name = 'tried'"); 1 };
    my $error = $ok ? '' : $@;

    $t->ctl('program drop org=acme program=tried');

    return $error;
}


for my $name (sort keys %preset) {
    my $p = $preset{$name};
    my $shown = $t->ctl("preset show preset=$name");

    $t->ctl("network create org=acme name=$name preset=$name");

    my $fits = $p->{sub_id} && $p->{sub_id_length} >= length $alphabet
               && $alphabet =~ /^$p->{sub_id_pattern}+$/ ? 1 : 0;

    is($p->{trackable} ? 1 : 0, $fits,
       $fits ? "$name takes a click id" : "$name is said not to");
    is(untracked($name) ? 0 : 1, $fits, '... and so do its programs');
    like($shown->{source}, $p->{verified} ? qr{^https?://} : qr/^unverified$/,
         '... as was read, or not');

    next if !%{ $shown->{parameters} };

    is($shown->{statuses}{''} // 'approved',
       $shown->{statuses}{''} ? 'pending' : 'approved',
       '... what names no state is pending');
    is_deeply([ grep { !/^(pending|approved|rejected|reversed|ignored)$/ }
                values %{ $shown->{statuses} } ], [], '... words are states');
}

is(join(' ', grep { !$preset{$_}{trackable} } sort keys %preset), 'amazon',
   'one has no sub-id');
is(untracked(''), '', 'what is ours is tracked in any case');

# what a network takes itself

my $awin = 'network update org=acme network=awin';

for my $case ([ 'sub_id_length=31', qr/32 of a-z and 2-7, but .*clickref.*31 of/ ],
              [ 'sub_id_length=32', undef ], [ 'sub_id_length=0', undef ],
              [ 'sub_id_pattern=[a-z]', qr/takes at most 50 of \[a-z\]/ ],
              [ 'sub_id_pattern=[0-9a-f]', qr/takes at most 50/ ],
              [ 'sub_id_pattern=[a-z2-7_-]', undef ],
              [ 'sub_id_pattern=', undef ])
{
    my ($args, $hint) = @$case;
    my $n = $t->ctl("$awin $args");

    is($n->{trackable} ? 1 : 0, $hint ? 0 : 1, "trackable: $args");
    $hint ? like(untracked('awin'), qr/cannot be tracked.*HINT:.*$hint/s,
                 '... says why')
          : is(untracked('awin'), '', '... its programs as well');
}

like(untracked('amazon'), qr/HINT:.*"amazon" has no sub-id/, 'none at all');
is($t->ctl('network update org=acme network=amazon sub_id=ascsubtag '
           . 'sub_id_length=32')->{trackable} ? 1 : 0, 0, 'no alphabet, no id');
is($t->ctl('network update org=acme network=amazon sub_id_pattern=[a-z0-9]')
     ->{trackable} ? 1 : 0, 1, 'all three are enough');

is($t->ctl("$awin sub_id=clickref3")->{sub_id},
   'clickref3 clickref clickref2 clickref4 clickref5 clickref6',
   'its own parameter comes first, and once');
is($t->ctl("$awin deep_link=p")->{deep_link}, 'p', 'its own deep link');
is($t->ctl("$awin deep_link= sub_id=")->{deep_link}, 'ued', 'and back');

# where a click may name a page

sub hosts {
    my ($network) = @_;

    return refused($t, "select api.program_create('acme', 'deep', 'network',
                        'EUR', '$network', hosts => 'a.example')");
}

is(join(' ', grep { hosts($_) } sort keys %preset), 'clickbank digistore24',
   'no hosts for who counts only its own links');
like(hosts('clickbank'), qr/hosts="a\.example" cannot be.*HINT:.*network_update/s,
     '... which says why');

my $deep = 'program update org=acme program=deep';

$t->ctl('network update org=acme network=clickbank deep_link=u');
$t->ctl('program create org=acme name=deep side=network network=clickbank '
        . 'currency=EUR hosts=a.example');
$t->ctl('network update org=acme network=clickbank deep_link=');
like($t->ctl_fails("$deep hosts=b.example"), qr/"clickbank" counts only who/,
     'nor others later');
is($t->ctl("$deep title=x")->{hosts}, 'a.example', 'what is there is left');
is($t->ctl("$deep hosts=")->{hosts}, '', 'or taken away');

# the query that is given to it

is($t->ctl('network show org=acme network=awin')->{postback},
   'clickRef=!!!clickRef!!!&transactionId=!!!transactionId!!!'
   . '&commission=!!!commission!!!&transactionAmount=!!!transactionAmount!!!'
   . '&transactionCurrency=!!!transactionCurrency!!!', 'a postback');
is($t->ctl("preset show preset=$_")->{postback}, undef,
   "$_ has none to give") for qw(cj clickbank amazon);

# and presets are held to their form, whoever writes

$t->sql('set role usher_owner');

for my $case (
    [ q(sub_ids = '{}'), 'network_preset_sub_id' ],
    [ q(sub_ids = '{a&b}'), 'sub_ids_check' ],
    [ q(sub_id_pattern = '.'), 'sub_id_pattern_check' ],
    [ q(sub_id_pattern = '[a]|b'), 'sub_id_pattern_check' ],
    [ q(sub_id_pattern = '[z-a]'), 'sub_id_pattern_check|character range' ],
    [ q(sub_id_length = 0), 'sub_id_length_check' ],
    [ q(source = 'somewhere'), 'source_check' ],
    [ q(postback_source = null), 'network_preset_postback' ],
    [ q(parameters = '{}'), 'network_preset_postback' ],
    [ q(parameters = '{"click_id": "a"}'), 'parameters_check' ],
    [ q(parameters = '{"click_id": "a", "transaction_id": "b", "x": "c"}'),
      'parameters_check' ],
    [ q(parameters = '[]'), 'parameters_check' ],
    [ q(statuses = '{"a": "paid"}'), 'statuses_check' ],
    [ q(statuses = '{"A": "pending"}'), 'statuses_check' ],
    [ q(auth = '{none}'), 'auth_check' ],
    [ q(macro = 'x'), 'macro_check' ],
    [ q(currency = 'eur'), 'currency_check' ],
) {
    my ($set, $by) = @$case;

    like(refused($t, "update usher.network_preset set $set
                      where name = 'impact'"), qr/$by/, "not: $set");
}

done_testing();
