# A link that gives a click id to a network which does not take it is refused,
# wherever it comes from; as is one that is too long, when it is enabled.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
$t->ctl('domain add host=go.example org=acme');
$t->ctl('network create org=acme name=amazon preset=amazon');
$t->ctl('network create org=acme name=short preset=cj sub_id_length=31');
$t->ctl('network create org=acme name=good preset=cj');
$t->ctl("program create org=acme name=$_ side=network network=$_ currency=EUR")
    for qw(amazon short good);
$t->ctl('program create org=acme name=own side=own currency=EUR');

my $id = 'https://shop.example/?sid={click_id}';
my $url = 'https://shop.example/?tag=us';
my $link = 'host=go.example slug';

my %hint = (
    amazon => qr/"amazon" cannot be tracked.*"amazon" has no sub-id.*update/s,
    short => qr/"short" cannot be tracked.*sid of network "short".* 31 of/s,
);

for my $program (sort keys %hint) {
    my $is = "$link=$program";

    like($t->ctl_fails("link add $link=new program=$program url=$id"),
         $hint{$program}, "$program: no click id");
    like($t->ctl_fails("link add $link=new program=$program url=$url "
                       . "overflow=$id"), $hint{$program}, '... nor there');
    is($t->ctl("link add $is program=$program url=$url "
               . 'utm=utm_content={click_id}')->{url}, $url,
       '... but without it a link, whatever UTM says');
    like($t->ctl_fails("link update $is url=$id"), $hint{$program},
         '... nor by a change');
    like($t->ctl_fails("link update $is overflow=$id"), $hint{$program},
         '... of the overflow');
    like($t->ctl_fails("link target set $is target=a url=$id"),
         $hint{$program}, '... nor in a target');
    is($t->ctl("link update $is title=x fallback=$id")->{title}, 'x',
       '... where it falls back to is no business of the network');
}

is($t->ctl("link add $link=$_ program=$_ url=$id")->{url}, $id,
   "$_: takes a click id") for qw(good own);
is($t->ctl("link add $link=none url=$id")->{url}, $id, 'as does no program');

# nor does its network take another while links use the one

my $network = 'network update org=acme network=good';

$t->ctl("link target set $link=good target=a "
        . 'url=https://shop.example/?sid={click_id}');
like($t->ctl_fails("$network $_"), qr{go\.example/good has its click id in sid
hint: .*lead elsewhere first}, "$_: a link uses the one that was")
    for 'sub_id=other', 'sub_id_length=20', 'sub_id_pattern=[a-f0-9]';
is($t->ctl("$network sub_id_length=40 sub_id=sid")->{sub_id_length}, 40,
   'what still takes it may be');
$t->ctl("link target drop $link=good target=a");
$t->ctl("link update $link=good url=https://shop.example/?s={click_id} untracked=true");
is($t->ctl("$network sub_id=other")->{sub_id}, 'other sid',
   'as may another, when no link uses it');
like($t->ctl_fails("$network sub_id_length=20"), qr/lead elsewhere first/,
     'but none that takes no click id');

# a link that is disabled has no record, and so its targets any size

$t->ctl("link disable $link=good");
$t->ctl("link target set $link=good target=t$_ step=$_ url=https://a.example/{click_id}"
        . 'x' x 1890) for 1 .. 5;
like($t->ctl_fails("link enable $link=good"),
     qr/the link is too long.*link target drop" drops a target/s,
     'too long to be enabled');
is($t->ctl("link show $link=good")->{state}, 'disabled', 'so it is not');
$t->ctl("link target drop $link=good target=t$_") for 2 .. 5;
is($t->ctl("link enable $link=good")->{state}, 'enabled', 'with fewer it is');

done_testing();
