# A program that is disabled: nothing new is made of it, and what there is of
# it goes on, for a network approves weeks later.

use lib 't/lib';
use Usher::Postback;
use Usher::Test;


my $t = Usher::Test->new;

world($t);

my $go = 'host=localhost';
my $shop = 'https://shop.example/';
my $file = sub { 'csv=@' . $t->write_file('links.csv', join '', map { "$_\n" } @_) };

$t->ctl($_) for split /\n/, <<"END";
partner create org=acme name=ann
partner create org=acme name=bob
partner join org=acme partner=ann program=shop
commission rule add org=acme program=shop percent=10 starts=2026-01-01
link add $go slug=p program=shop partner=ann url=$shop?p={click_id}
END

my $url = postback($t, 'name=shop program=shop');

$t->wait_for(sub { $t->get('/go/p')->status == 302 }, 'the link is known');
$t->ctl('program disable org=acme program=shop');
$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'edges know');

# nothing new

my %new = (
    link => [ qw(link add), $go, 'slug=n', 'program=shop', "url=$shop" ],
    import => [ qw(link import), $file->('host,slug,url,program', "localhost,x,$shop,",
                                         "localhost,n,$shop,shop") ],
    product => [ qw(product create org=acme program=shop name=book) ],
    coupon => [ qw(coupon add org=acme program=shop code=x slug=p), $go ],
    partner => [ qw(partner join org=acme partner=bob program=shop) ],
    rule => [ qw(commission rule add org=acme program=shop partner=ann percent=5) ],
    postback => [ qw(postback add org=acme name=n program=shop endpoint=https://a.example/p) ],
);

my $said = qr/^usherctl: (csv= line 3: )?program "shop" is disabled\nhint: .*"usherctl program enable"/;

like($t->ctl_fails(@{ $new{$_} }), $said, "no $_") for sort keys %new;
like($t->ctl_fails(@{ $new{import} }), qr/^usherctl: csv= line 3: program/, 'the line is named');

my @other = (qw(link import), $file->('host,slug,url,program', "localhost,a,$shop,shop"));

like($t->ctl_fails(@other, 'on_conflict=update'), qr/csv= line 2: program "shop" is disabled/,
     'nor a link of something else');
is($t->ctl(@other, 'on_conflict=skip')->{skipped}, 1, 'which may be left as it is');

# what there is

is($t->ctl('link', 'update', $go, 'slug=p', 'title=new')->{title}, 'new', 'a link is changed');
is($t->ctl(qw(link import on_conflict=update),
           $file->('host,slug,url,program', "localhost,p,$shop?new={click_id},shop"))->{changed},
   1, 'and by a file');
$t->wait_for(sub { $t->get('/go/p')->header('Location') =~ /new=/ }, 'edges know');

my ($click) = $t->get('/go/p')->header('Location') =~ /new=([a-z2-7]{32})$/;

is(said($t->get("$url&click_id=$click&transaction_id=t1&sale_amount=20&status=sale")), '200 OK',
   'clicks and conversions are taken');
$t->wait_for(sub { $t->sql('select count(*) from usher.commission_line') }, 'a line');
is($t->ctl('commission list org=acme')->[0]{amount}, '2.00', 'and commissions booked');

# enabled again

$t->ctl('program enable org=acme program=shop');
is(($t->ctl_run(@{ $new{$_} }, '--dry-run'))[0], 0, "then there may be a new $_")
    for sort keys %new;

done_testing();
