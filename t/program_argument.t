# Networks, programs, products, campaigns, partners: a value that an argument
# cannot have is refused by the argument's name, with what it may be, and what
# cannot be done is refused with what can; nothing is done then.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
$t->ctl("network create org=acme name=$_ preset=$_") for qw(awin amazon);
$t->ctl('program create org=acme name=shop side=own currency=EUR');
$t->ctl('program create org=acme name=net side=network network=awin currency=USD');
$t->ctl('program create org=acme name=az side=network network=amazon currency=USD');
$t->ctl('product create org=acme program=shop name=book sku=1');
$t->ctl('product create org=acme program=shop name=pen sku=2');
$t->ctl('campaign create org=acme name=spring starts=2026-03-01');
$t->ctl('partner create org=acme name=ann email=ann@example.com');
$t->ctl('partner join org=acme partner=ann program=shop');

my $long = 'x' x 201;
my $name = [ 'A b', qr/1 to 32 of a-z, 0-9/ ];
my $title = [ $long, qr/at most 200 characters/ ];
my $reason = [ $long, qr/200 characters/ ];
my $currency = [ 'EUX', qr/three letters of ISO 4217.*currency list/s ];
my $network = [ 'nobody', qr/network list/ ];

my %network = (title => $title,
    sub_id => [ 'a=b', qr/1 to 64 of letters/ ],
    sub_id_pattern => [ '.', qr/as in \[A-Za-z0-9_-\]/ ],
    sub_id_length => [ 1001, qr/Give 1 to 1000/ ],
    deep_link => [ 'a&b', qr/1 to 64 of letters/ ]);
my %program = (title => $title,
    hosts => [ 'https://example.com', qr/as www\.example\.com, or \*\./ ],
    mode => [ 'cloak', qr/redirect or plain/ ],
    attribution => [ 'any', qr/first or last/ ],
    window => [ 367, qr/Give 1 to 366/ ], hold => [ -1, qr/Give 0 to 366/ ],
    terms => [ $long, qr/at most 200 characters/ ]);
my %product = (title => $title, sku => [ 'x' x 101, qr/at most 100/ ],
    price => [ -1, qr/An amount is like 2\.50, in EUR/ ]);
my %partner = (kind => [ 'club', qr/company or person/ ],
    email => [ 'ann', qr/as ann\@example\.com/ ],
    tax_id => [ '#1', qr/1 to 40 of letters/ ],
    terms => [ $long, qr/at most 200 characters/ ],
    method => [ 'DE89370400440532013000', qr/as in sepa; no account/ ],
    minimum => [ 2.505, qr/An amount is like 2\.50, in EUR/ ], currency => $currency);
my $when = [ '2026-02-01', qr/ends after it starts/ ];
my $never = [ 'infinity', qr/Give a moment/ ];

# how to call it, and for each argument a value and the hint

my %call = (
    network_create => [ 'name=new preset=cj', { %network, name => $name,
        preset => [ 'nobody', qr/preset list" shows all; generic/ ] } ],
    network_update => [ 'network=awin', \%network ],
    network_drop => [ 'network=awin', {} ],
    program_create => [ 'name=new side=own currency=EUR', { %program,
        name => $name, currency => $currency,
        side => [ 'both', qr/network \(.*\) or own/ ],
        network => [ 'awin', qr/no network reports it/ ] } ],
    program_update => [ 'program=shop', \%program ],
    program_disable => [ 'program=shop', { reason => $reason } ],
    program_enable => [ 'program=shop', {} ],
    program_drop => [ 'program=shop', {} ],
    product_create => [ 'program=shop name=new price=1', { %product,
        name => $name, currency => $currency } ],
    product_update => [ 'program=shop product=book price=1', { %product,
        currency => $currency } ],
    product_drop => [ 'program=shop product=book', {} ],
    campaign_create => [ 'name=new starts=2026-03-01', { name => $name,
        title => $title, starts => $never, ends => $when } ],
    campaign_update => [ 'campaign=spring', { title => $title,
        starts => $never, ends => $when } ],
    campaign_drop => [ 'campaign=spring', {} ],
    partner_create => [ 'name=new currency=EUR', { %partner, name => $name } ],
    partner_update => [ 'partner=ann currency=EUR', \%partner ],
    partner_disable => [ 'partner=ann', { reason => $reason } ],
    partner_enable => [ 'partner=ann', {} ],
    partner_join => [ 'partner=ann program=shop', {} ],
    partner_leave => [ 'partner=ann program=shop', {} ],
    partner_drop => [ 'partner=ann', {} ],
);

# what is looked for: that it is not there is told, with who shows what is

my %sought = map { $_ => [ 'nobody', qr/"usherctl $_ list" shows all/ ] }
             qw(org network program product campaign partner);


sub told {
    my ($function, $args, $what, $hint) = @_;

    my ($code, $out, $err) = $t->ctl_run($function, @$args);

    is($code, 1, "$function: $what");
    like($err, qr/^usherctl:[^\n]+\nhint:[^\n]*$hint/, '... says what may be');
    unlike($err, qr/violates|constraint/, '... in words of ours');

    return $err;
}


my $functions = functions($t, qr/^(network|program|product|campaign|partner)_/);
my $rows = $t->sql('select count(*) from usher.audit');

for my $function (sort grep { $functions->{$_}{changes} } keys %$functions) {
    my ($with, $args) = @{ $call{$function} || [] };

    for my $arg (map { $_->{name} } @{ $functions->{$function}{arguments} }) {
        my $case = $args->{$arg} // $sought{$arg};

        if (!$with || !$case) {
            fail("$function $arg= is held against its values here");
            next;
        }

        my @args = (grep({ !/^$arg=/ } 'org=acme', split ' ', $with),
                    "$arg=$case->[0]");
        my $err = told($function, \@args, "$arg=" . substr($case->[0], 0, 20),
                       $case->[1]);

        like($err, qr/\b$arg\b/, '... by the argument');
        unlike($err, qr/: ann\b|#1/, '... but not what is personal')
            if $arg =~ /^(email|tax_id)$/;
    }
}

# what only together cannot be, and what is not in that state

for my $case (
    [ 'network create name=awin preset=awin', qr/another name/ ],
    [ 'network create name=new preset=awin sub_id_pattern=[z-a]', qr/as in \[A/ ],
    [ 'network create name=new preset=awin sub_id_pattern=[' . 'a-z' x 71 . ']',
      qr/as in \[A/ ],
    [ 'network drop network=awin', qr/program list" shows its programs/ ],
    [ 'program create name=shop side=own currency=EUR', qr/another name/ ],
    [ 'program create name=new side=network currency=EUR', qr/Name the network/ ],
    [ 'program create name=new side=network network=nobody currency=EUR',
      qr/network list/ ],
    [ 'program create name=new side=network network=amazon currency=EUR '
      . 'mode=redirect', qr/forbids to cloak/ ],
    [ 'program create name=new side=network network=awin currency=EUR hold=1',
      qr/pays nobody/ ],
    [ 'program update program=az mode=redirect', qr/forbids to cloak/ ],
    [ 'program update program=net hold=1', qr/pays nobody/ ],
    [ 'program drop program=shop', qr/program disable" ends one/ ],
    [ 'product create program=shop name=book', qr/another name or SKU/ ],
    [ 'product create program=shop name=new currency=USD', qr/Give price=/ ],
    [ 'product create program=shop name=new sku=1', qr/another name or SKU/ ],
    [ 'product update program=shop product=pen sku=1', qr/another SKU/ ],
    [ 'product update program=shop product=pen currency=EUR', qr/price= with it/ ],
    [ 'campaign create name=spring', qr/another name/ ],
    [ 'campaign update campaign=spring starts=2027-01-01 ends=2026-12-31',
      qr/ends after it starts/ ],
    [ 'partner create name=ann', qr/another name/ ],
    [ 'partner create name=new minimum=1', qr/currency= with it/ ],
    [ 'partner update partner=ann minimum=1', qr/currency= with it/ ],
    [ 'partner join partner=ann program=net', qr/programs of side own/ ],
    [ 'partner join partner=ann program=shop', qr/partner show" shows/ ],
    [ 'partner leave partner=ann program=net', qr/partner show" shows/ ],
    [ 'partner drop partner=ann', qr/partner leave" takes it out/ ],
) {
    my ($words, $hint) = @$case;
    my ($noun, $verb, @args) = split ' ', $words;

    told("${noun}_$verb", [ 'org=acme', @args ], "@args", $hint);
}

is($t->sql('select count(*) from usher.audit'), $rows, 'nothing was done');

# readers

like($t->ctl_fails($_), qr/^usherctl: [^\n]*\nhint: /, $_)
    for 'program list side=both', 'campaign list state=over',
        'network list limit=0', 'product list program=shop',
        'preset show preset=nobody', 'partner list org=acme program=nobody';

done_testing();
