# What lists look like on terminals of 80 and 100 columns: ids, slots and times
# are there whole, only text is cut, and nothing is wider.

use lib 't/lib';
use Usher::Test;

use Encode qw(decode);


my $t = Usher::Test->new;

plan(skip_all => 'no terminal to be had')
    if system('script -qec true /dev/null < /dev/null > /dev/null 2>&1');

$t->postgres;

my $slot = '0123456789abcdef' x 2;
my $text = 'the customer asked for it by mail, see the ticket';

$t->ctl('org', 'create', 'name=acme-of-many-words', "title=$text");
$t->ctl('plan create name=professional');
$t->ctl('subscription start org=acme-of-many-words plan=professional');
$t->ctl('member set actor=ann@example.com org=acme-of-many-words role=admin');
$t->ctl('key', 'create', 'org=acme-of-many-words', "name=$text",
        'scope=read write', 'allow=10.0.0.0/8', 'expires=2100-01-01')
    for 1 .. 3;
$t->ctl('key', 'rotate', 'key=1', 'grace=2h');
$t->ctl('key', 'revoke', 'key=2', "reason=$text");

my $org = 'org=acme-of-many-words';

$t->ctl('network', 'create', $org, 'name=our-own-network', 'preset=awin',
        "title=$text");
$t->ctl('program', 'create', $org, 'name=shoes-and-socks', 'side=network',
        'network=our-own-network', 'currency=EUR', "title=$text",
        'hosts=www.example.com,*.shop.example.com');
$t->ctl('program', 'create', $org, 'name=books', 'side=own', 'currency=EUR');
$t->ctl('product', 'create', $org, 'program=books', 'name=a-book',
        "title=$text", 'sku=978-3-16-148410-0', 'price=19.99');
$t->ctl('campaign', 'create', $org, 'name=spring-of-2026', "title=$text",
        'starts=2026-03-01', 'ends=2026-06-01');
$t->ctl('partner', 'create', $org, 'name=ann', 'email=ann@example.com',
        'tax_id=DE123456789', 'terms=v1', 'minimum=50.00', 'currency=EUR');
$t->ctl('partner', 'join', $org, 'partner=ann', 'program=books');

$t->sql("insert into usher.journal (slot, node, state, reason, moved_at,
             last_event) values ('$slot', 'edge1.example.com', 'stopped', ?,
             now(), now())", $text);
$t->sql("insert into usher.journal_gap (slot, from_position, to_position, reason)
         values ('$slot', 1, 9999999999, ?)", $text);
$t->sql("insert into usher.quarantine (slot, position, kind, line, reason)
         values ('$slot', 5, 'r1', ?::bytea, ?)", $text, $text);
$t->sql("insert into usher.request (event_time, key_id, route, status, units,
             bytes_sent, duration_ms, org_id, request_id, node, method, host,
             uri, address, user_agent, referer, auth_status, limit_status,
             protocol, flags)
         select now(), 1, '/', 200, 1, 10, 1, 1, 'of/a client ' || n || repeat(
                'x', 40), 'edge1', 'GET', 'www.example.com', '/' || repeat(
                'v', 90), '2001:db8::1', '', '', 'ok', 'ok', 'HTTP/1.1', 0
         from generate_series(1, 2) n");

$t->sql(q{
    set role usher_owner;
    create function api.echo_show(value jsonb) returns jsonb
    language sql as 'select value';
    reset role });


sub shown {
    my ($width, @call) = @_;

    local %ENV = (%ENV, %{ $t->san_env },
                  USHER_DATABASE => $t->dsn('usherctl'));
    my $run = join ' ', $t->dir . '/bin/usherctl', @call;

    return decode('UTF-8', scalar `script -qec "stty cols $width; $run" \\
                                   /dev/null < /dev/null`) =~ s/\r//gr;
}


# What must not be cut: values without a blank, as they are shown.

sub words {
    my ($value) = @_;

    return map { words($_) } @$value if ref $value eq 'ARRAY';
    return map { $_ eq 'request' ? $value->{$_} : words($value->{$_}) }
           grep { $_ !~ /^(?:arguments|uri)$/ } keys %$value
        if ref $value eq 'HASH';

    $value = ($value // '') =~ s/^(\d{4}-\d\d-\d\d)T([\d:]{8})(?:\.\d+)?\+00:00$/
                                 $1 $2/xr;
    return grep { /^[\w.:+-]+(?: [\d:]{8})?$/ && !/^[01]$/ } $value;
}


for my $call ('org list', 'key list', 'subscription list', 'audit list',
              'member list org=acme-of-many-words', 'journal list',
              'journal gaps', 'quarantine list', 'event list', 'preset list',
              'network list', 'program list', 'product list', 'campaign list',
              'partner list')
{
    my @words = words($t->ctl($call));

    for my $width (80, 100) {
        my $shown = shown($width, $call);

        is(join(' ', grep { index($shown, $_) < 0 } @words), '',
           "$call: all ids and times in $width columns") or diag($shown);

        my @wide = grep { length > $width } split /\n/, $shown;
        is(join("\n", grep { !/^(?:uri|line|arguments|title) / } @wide), '',
           '... and nothing is wider') or diag($shown);
    }
}

# a table where it fits, one row below the other where it does not

for my $case ([ n => 'w' x 30, 'a word' ], [ request => 'a/b ' x 7 . 'a/b',
                                             'an id, whatever is in it' ])
{
    my ($name, $value, $what) = @$case;
    my $file = $t->write_file('rows', JSON::PP->new->encode(
        [ { $name => $value, at => '2026-11-20T11:56:57+00:00', text => $text,
            x => 'v' x 20 } ]));

    like(shown(100, "echo show value=\@$file"),
         qr/^2026-11-20 11:56:57 (?=.*\Q$value\E).*\x{2026}/m,
         "$what is not cut");
}

like(shown(100, 'org list'), qr/^id +name.*\n +1 +acme.*the custom.*\x{2026}/,
     'only text is cut');
like(shown(80, 'journal list'), qr/^slot +$slot\nnode +edge1.*\n/,
     'rows that are too wide lie on their side');
like(shown(80, 'key list'), qr/\nid +1\n|^id +1\n(?s:.*)\n\nid +2\n/,
     'an empty line between');
unlike(shown(80, 'key list'), qr/^own_plan *$|^revoked *$/m,
       'what is empty is left out');

done_testing();
