# The clicks of a link and of a group: who may see them, and that they are the
# same before and after their hour has closed.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;
$t->sql('select usher.keep_partitions()');

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl("domain add host=go.$org.example org=$org");
    $t->ctl("link add host=go.$org.example slug=$_ url=https://shop.example/")
        for qw(a b spare);
    $t->ctl("link group create org=$org group=$_") for qw(summer spare);
    $t->ctl("link group add org=$org group=summer host=go.$org.example "
        . "slug=$_") for qw(a spare);
}

$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);

# rights

my $change = 'owner admin';
my $read = 'owner admin analyst';
my $g = 'org=acme group=summer';
my %call = (
    link_stats        => [ 'host=go.acme.example slug=a', $read ],
    link_group_create => [ 'org=acme group=new', $change ],
    link_group_list   => [ 'org=acme', $read ],
    link_group_show   => [ $g, $read ],
    link_group_add    => [ "$g host=go.acme.example slug=b", $change ],
    link_group_remove => [ "$g host=go.acme.example slug=spare", $change ],
    link_group_drop   => [ 'org=acme group=spare', $change ],
    link_group_stats  => [ $g, $read ],
    link_group_import => [ 'org=acme csv=group', $change ],
    link_group_export => [ 'org=acme', $read ],
);

is(join(' ', sort keys %call),
   join(' ', sort keys %{ functions($t, qr/^link_(group|stats)/) }),
   'every function is held against its roles here');

sub state_of {
    my ($actor, $function, $args) = @_;

    my $answer = ask($t, $actor, $function, map { split /=/, $_, 2 }
                                            split ' ', $args);

    return ref $answer ? 'ok' : $answer;
}

for my $function (sort keys %call) {
    my ($args, $roles) = @{ $call{$function} };
    my $other = $args =~ s/acme/beta/gr;

    is(state_of($_, $function, $args), 'US403', "$function: no $_")
        for grep { $roles !~ /\b$_\b/ } qw(admin analyst partner stranger);
    is(state_of('owner', $function, $args), 'ok', "$function: an owner");
    is(state_of('owner', $function, $other), 'US403', '... of its own org');
}

$t->ctl("link group add $g host=go.acme.example slug=b");
$t->ctl("link group remove $g host=go.acme.example slug=spare");
$t->ctl('link group drop org=acme group=spare');
is(state_of('', 'link_group_add', "$g host=go.beta.example slug=a"), 'US404',
   'a group has links of its org');
is(state_of('', 'link_group_create', $g), 'US409', 'a name is one group\'s');
is(state_of('', 'link_group_create', 'org=acme group=X'), 'US400', 'a name');
is(state_of('', 'link_group_show', 'org=acme group=winter'), 'US404', 'none');
is(state_of('', 'link_group_remove', "$g host=go.acme.example slug=spare"),
   'US404', 'nobody leaves twice');
is(state_of('', 'link_stats', "host=go.acme.example slug=a $_"), 'US400', $_)
    for 'by=week', 'from=2026-01-02 to=2026-01-01';
is(state_of('owner', 'link_stats', 'slug=a'), 'ok', 'the host that he sees');
is(state_of('', 'link_stats', 'slug=a'), 'US400', 'one of two has to be named');
is(state_of('owner', 'link_stats', 'slug=x'), 'US404', 'or there is none');
is(state_of('stranger', 'link_stats', 'slug=a'), 'US403',
   'which is nobody\'s business');
is(join(' ', map { $_->{slug} } @{ $t->ctl("link group show $g") }), 'a b',
   'links of a group');
is($t->sql("select count(*) from usher.audit
            where function like 'link_group_%'"), 11, 'audit rows');

# clicks

my $h = $t->sql("select date_trunc('day', now() - interval '2 days', 'UTC')
                        + interval '22 hours'");

$t->sql('update usher.usage_close set closed_until = ?', $h);
$t->sql('update usher.click_close set done_until = ?', $h);
$t->sql("insert into usher.click
         select now(), ?::timestamptz + m * interval '1 minute', l.id, r, 0,
                l.org_id, '', 'edge1', l.host, l.slug, c, d, '', '', '', s,
                '', '', '', '', v, null, 302, 0, null
         from (values ('a', 1, 0, 'AT', 'mobile', 'x', 'v1'),
                      ('a', 2, 0, 'AT', 'mobile', 'x', 'v1'),
                      ('a', 3, 11, 'DE', 'desktop', '', ''),
                      ('a', 65, 0, 'DE', 'desktop', 'y', 'v2'),
                      ('a', 130, 0, 'DE', '', '', 'v3'),
                      ('b', 4, 0, 'AT', 'mobile', '', 'v1'),
                      ('spare', 5, 0, 'AT', 'mobile', '', 'v1'))
              as k (slug, m, r, c, d, s, v)
         join usher.link l on l.slug = k.slug and l.host = 'go.acme.example'",
        $h);

sub stats {
    my ($of, $by) = @_;
    my $s = $t->ctl("$of from=2026-01-01 by=$by");

    return "$s->{gross} $s->{net} $s->{uniques}: " . join ', ',
        map { "$_->{$by} $_->{gross} $_->{net} $_->{uniques}" }
        @{ $s->{rows} };
}

my $days = join ' ', $t->sql("select to_char(?::timestamptz at time zone 'UTC',
    'YYYY-MM-DD')", $h), $t->sql("select to_char(?::timestamptz at time zone
    'UTC' + interval '1 day', 'YYYY-MM-DD')", $h);
my ($day, $next) = split ' ', $days;

for my $hours (0 .. 3) {
    my $a = 'link stats host=go.acme.example slug=a';

    is(stats($a, 'day'), "5 3 3: $day 4 2 2, $next 1 1 1",
       "$hours hours closed: by day");
    is(stats($a, 'country'), '5 3 3: DE 3 2 2, AT 2 1 1', 'by country');
    is(stats($a, 'device'), '5 3 3: desktop 2 1 1, mobile 2 1 1,  1 1 1',
       'by device');
    is(stats($a, 'reason'), '5 3 3: valid 3 3 3, bot 1 0 0, duplicate 1 0 0',
       'by reason');
    is(stats($a, 'sub1'), '5 3 3:  2 1 1, x 2 1 1, y 1 1 1', 'by sub1');
    is(stats("link group stats $g", 'hour'), "6 4 4: ${day}T22:00Z 4 2 2, "
       . "${day}T23:00Z 1 1 1, ${next}T00:00Z 1 1 1", 'a group, by hour');

    $t->sql("update usher.usage_close set closed_until = closed_until
             + interval '1 hour'");
    $t->sql('select usher.keep_clicks()');
}

is($t->sql('select sum(clicks) from usher.click_hour'), 7, 'all are final');
is($t->ctl("link stats host=go.acme.example slug=a from=${day}T23:00Z "
    . "to=${next}T00:00Z")->{gross}, 1, 'from and to');
is_deeply($t->ctl('link stats host=go.acme.example slug=a '
    . 'from=2026-01-01')->{reasons}, { valid => 3, bot => 1, duplicate => 1 },
    'reasons');

done_testing();
