# A link of a program whose network gives an id back, but without one: no
# conversion could ever find its click, so it has to be asked for.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
$t->ctl('domain add host=go.example org=acme');
$t->ctl('network create org=acme name=awin preset=awin');
$t->ctl('network create org=acme name=short preset=cj sub_id_length=31');
$t->ctl('network create org=acme name=any preset=generic');
$t->ctl("program create org=acme name=$_->[0] side=network network=$_->[1] currency=EUR $_->[2]")
    for [ 'shoes', 'awin', '' ], [ 'plain', 'awin', 'mode=plain' ], [ 'short', 'short', '' ],
        [ 'any', 'any', '' ];
$t->ctl('program create org=acme name=own side=own currency=EUR');

my $link = 'host=go.example slug';
my $url = 'https://shop.example/p';

sub refused { $t->ctl_fails(@_) =~ /^usherctl: (?:csv= line \d+: )?(.*)\nhint: .*clickref, .*clickref6: url="(.*?)"\. untracked=true of "usherctl link add"/
              ? "$1: $2" : 'another' }

my $no = 'a link of program "shoes" has no {click_id}';

is(refused("link add $link=a program=shoes url=$url$_->[0]"), "$no: $url$_->[1]", "shows how: $_->[0]")
    for [ '', '?clickref={click_id}' ],
        [ '?a=1#top', '?a=1&clickref={click_id}#top' ],
        [ '?clickref=mine&a=1', '?clickref={click_id}&a=1' ],
        [ '?xclickref={sub1}', '?xclickref={sub1}&clickref={click_id}' ];
is(refused("link add $link=a program=shoes url=$url utm=utm_content={click_id}"),
   "$no: $url?clickref={click_id}", 'UTM is not where the network looks');
is($t->ctl("link add $link=$_ program=$_ url=$url")->{untracked}, JSON::PP::false, "$_ may be without")
    for qw(plain short own);

like($t->ctl_fails("link add $link=a program=shoes url=$url" . 'x' x 500),
     qr/in clickref, .*clickref6: write it there\. untracked/, 'or says how');

# where the network does not look

my $at = 'a link of program "shoes" has {click_id} where its network does not look';
my $foo = "$url?foo={click_id}";

is(refused("link add $link=a program=shoes url=$url$_->[0]"), "$at: $url$_->[1]", "not there: $_->[0]")
    for [ '?foo={click_id}', '?foo={click_id}&clickref={click_id}' ],
        [ '/{click_id}?clickref=', '/{click_id}?clickref={click_id}' ],
        [ '?clickref=my-{click_id}', '?clickref={click_id}' ],
        [ '?xclickref={click_id}', '?xclickref={click_id}&clickref={click_id}' ],
        [ '#?clickref={click_id}', '?clickref={click_id}#?clickref={click_id}' ];
is($t->ctl("link add $link=s$_ program=shoes url=$url?a=1&clickref$_={click_id}#top")->{untracked},
   JSON::PP::false, "but in clickref$_") for '', 2, 6;
is($t->ctl("link add $link=$_-foo program=$_ url=$foo")->{url}, $foo, "$_: anywhere")
    for qw(plain own any);
is(refused("link update $link=s url=$foo"), "$at: $foo&clickref={click_id}", 'nor by a change');
is(refused("link target set $link=s target=t url=$foo"), "$at: $foo&clickref={click_id}", 'nor in a target');

# asked for

is($t->ctl("link add $link=a program=shoes url=$url untracked=true")->{untracked}, JSON::PP::true,
   'asked for: added');
is($t->ctl("link update $link=a url=${url}2")->{url}, "${url}2", 'which holds for later');
is($t->ctl("link target set $link=a target=t url=$url")->{targets}[0]{url}, $url, 'and its targets');
is(refused("link update $link=a untracked=false"), "$no: ${url}2?clickref={click_id}",
   'not without one, as it is');
is(refused("link update $link=a untracked=false url=$url?clickref={click_id}"),
   "$no: $url?clickref={click_id}", 'nor with a target without one');
$t->ctl("link target set $link=a target=t url=$url?clickref={click_id}");
is($t->ctl("link update $link=a untracked=false url=$url?clickref={click_id}")->{untracked},
   JSON::PP::false, 'tracked from now on');
is(refused("link update $link=a url=$url"), "$no: $url?clickref={click_id}", 'which holds as well');
is(refused("link target set $link=a target=u url=$url"), "$no: $url?clickref={click_id}", 'and its targets');
is($t->ctl("link update $link=a title=x fallback=$url overflow=$url")->{title}, 'x',
   'elsewhere it may lead without');

# from a file

sub file { 'csv=@' . $t->write_file('links.csv', join '', map { "$_\n" } @_) }

sub counts { my $n = $t->ctl('link', 'import', 'on_conflict=update', file(@_));
             join ' ', map { $n->{$_} } qw(added changed unchanged) }

my @head = ('host,slug,url,program,untracked', 'go.example,x,https://a.example/,,');

is(refused('link', 'import', file(@head, "go.example,b,$url,shoes,")), "$no: $url?clickref={click_id}",
   'a line');
is(refused('link', 'import', file(@head, "go.example,b,$foo,shoes,")), "$at: $foo&clickref={click_id}",
   'a line, there as well');
is(refused('link', 'target', 'import', file('host,slug,target,url', "go.example,s,t,$foo")),
   "$at: $foo&clickref={click_id}", 'and of targets');
is(counts(@head, "go.example,b,$url,shoes,true"), '2 0 0', 'asked for: a link');
is(counts('host,slug,url', "go.example,b,${url}3"), '0 1 0', 'which holds for a file without the column');
$t->sql("update usher.link set untracked = false where slug = 'b'");
is(counts(@head, "go.example,b,${url}3,shoes,"), '0 0 2', 'what is there is left as it is');
is(refused('link', 'import', 'on_conflict=update', file(@head, "go.example,b,$url,shoes,")),
   "$no: $url?clickref={click_id}", 'but not changed');
is($t->ctl('link', 'import', 'on_conflict=skip', file(@head, "go.example,b,$url,shoes,"))->{skipped}, 1,
   'nor looked at where it is skipped');
like($t->ctl_fails('link', 'import', file("$head[0],dead", "go.example,c,$url,,x,")),
     qr/line 2: untracked="x" cannot be/, 'true or false');
like($t->ctl_fails('link', 'import', file("$head[0],dead", "go.example,c,$url,,,often")),
     qr/line 2: dead="often" cannot be/, 'and dead has three words');

done_testing();
