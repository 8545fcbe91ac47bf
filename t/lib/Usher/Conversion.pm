package Usher::Conversion;

# An org that earns by a network and pays partners of a program of its own,
# and what is told of its conversions.
#
#     use Usher::Conversion;
#
#     my %id = world($t);                 # { postback => 1, links => ... }
#     my $click = click($link, $time);    # the id of a click, not signed
#     tell($t, 'net', 't1', at => $time, status => 'approved', amount => '1');
#     truth($t, 't1')                     # what is true of it, as a hash
#
# tell() stores the event as flush does, and has it reacted to.

use v5.36;

use Digest::SHA qw(sha256_hex);
use Exporter qw(import);
use POSIX qw(strftime);

our @EXPORT = qw(click day hear react tell truth world);

my @said = qw(status amount sale_amount currency customer coupon status_time
              event_id subscription cookie);
my $n = 0;


# Org acme: network net with program shoes, link s; program books of its own
# with partners ann and bob, links a and b; postbacks net, shop and pixel.

sub world ($t) {
    $t->ctl($_) for split /\n/, <<'END';
org create name=acme
network create org=acme name=net preset=generic
program create org=acme name=shoes side=network network=net currency=EUR
program create org=acme name=books side=own currency=EUR
partner create org=acme name=ann
partner create org=acme name=bob
partner join org=acme partner=ann program=books
partner join org=acme partner=bob program=books
campaign create org=acme name=spring
domain add org=acme host=go.acme.example
link add host=go.acme.example slug=s url=https://x.example/?subid={click_id} program=shoes campaign=spring
link add host=go.acme.example slug=a url=https://x.example/ program=books partner=ann
link add host=go.acme.example slug=b url=https://x.example/ program=books partner=bob
END

    $t->sql("insert into usher.postback (org_id, name, network_id, program_id,
                 pixel, endpoint)
             select o.id, v.name, n.id, p.id, v.pixel, 'https://a.example/p'
             from (values ('net', 'net', null, false),
                          ('shop', null, 'books', false),
                          ('pixel', null, 'books', true),
                          ('netpixel', 'net', null, true))
                  v (name, network, program, pixel)
             join usher.org o on o.name = 'acme'
             left join usher.network n on n.name = v.network
             left join usher.program p on p.name = v.program");

    return map { $_->[0] => $_->[1] } $t->rows('select slug, id from usher.link');
}


# Seconds since the epoch, of a day of 2026 and an hour.

sub day ($day, $hour = 12) { 1_767_225_600 + $day * 86400 + $hour * 3600 }


# Forms of src/common/usher_click.h; whether it is signed is not looked at.

sub click ($link, $time) {
    my $bits = unpack 'B*', pack 'CNNNa7', 0x10, $time, $link, ++$n, 'unsigned';

    return join '', map { ('a' .. 'z', 2 .. 7)[oct "0b$_"] }
           $bits =~ /.{5}/g;
}


sub react ($t) {
    my $failed = 0;

    $t->sql("update usher.todo set next_at = now() where handler = 'again'");

    while (1) {
        my ($row) = $t->rows('select taken, failed, why from usher.react(100)');
        return if !$row->[0];
        die "$row->[2]\n" if $row->[1];
    }
}


# The event's row, as flush stores it; nothing if it was there.

sub hear ($t, $postback, $transaction, %col) {
    $col{$_} //= '' for @said, 'click_id';

    my $pixel = $postback =~ /pixel/ ? 'pixel' : 'postback';
    my $digest = sha256_hex(join "\t", $pixel, $transaction,
                            @col{@said, 'click_id'});
    my $at = strftime '%Y-%m-%d %H:%M:%S+00', gmtime($col{at} // day(100));

    my $again = !$t->sql(q{
        with k as (
            insert into usher.conversion_key
            select now(), p.id, ?, decode(?, 'hex')
            from usher.postback p where p.name = ?
            on conflict do nothing
            returning *)
        insert into usher.conversion_event
        select now(), ?, p.id, p.org_id, ?, ?, ?, k.transaction_id,
               ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, k.digest, 'edge1', '', null, '', 0
        from k join usher.postback p on p.id = k.postback_id
        returning 1 },
        $transaction, $digest, $postback, $at, $pixel,
        $col{click_status} // ($col{click_id} eq '' ? 1 : 0),
        $col{click_id}, @col{@said});

    $t->sql("select usher.conversion_again(p.id, ?, decode(?, 'hex'), ?)
             from usher.postback p where p.name = ?", $transaction, $digest,
            $at, $postback)
        if $again;
}


sub tell ($t, @what) {
    hear($t, @what);
    react($t);
}


# State, amounts in minor units, link's slug or why there is none, and so on.

sub truth ($t, $transaction) {
    my ($row) = $t->db->selectall_array(q{
        select c.state, c.confirmed::int, c.amount, c.sale_amount, c.currency,
               c.state_problem, c.amount_problem, c.via, c.click_id,
               coalesce(l.slug, u.word) as link, p.name as partner, c.customer
        from usher.conversion c
        left join usher.link l on l.id = c.link_id
        left join usher.unattributed u on u.reason = c.unattributed
        left join usher.partner p on p.id = c.partner_id
        where c.transaction_id = ? }, { Slice => {} }, $transaction);

    return $row;
}

1;
