# Payouts: who may call what, for its own org and no other; what is personal;
# values that cannot be; an audit row for every change.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Conversion;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my %link = world($t);

$t->ctl("member set actor=$_ org=acme role=$_")
    for qw(owner admin analyst partner);
$t->ctl($_) for split /\n/, <<'END';
org create name=beta
commission rule add org=acme program=books percent=10 starts=2026-01-01
partner update org=acme partner=ann terms=v1 method=sepa email=ann@example.com tax_id=DE7
partner create org=beta name=ann terms=v1 method=sepa
domain add org=beta host=go.beta.example
program create org=beta name=books side=own currency=EUR
commission rule add org=beta program=books percent=10 starts=2026-01-01
partner join org=beta partner=ann program=books
link add host=go.beta.example slug=a url=https://x.example/ program=books partner=ann
END
$t->sql("insert into usher.postback (org_id, name, program_id, endpoint)
         select org_id, 'theirs', id, 'https://a.example/p' from usher.program
         where name = 'books' and org_id = 2");
my $theirs = $t->sql("select id from usher.link
                      where host = 'go.beta.example'");

sub sale { my ($shop, $link, $n) = @_;
           tell($t, $shop, "t$n", status => 'sale', sale_amount => 10 * $n,
                click_id => click($link, day(99))) }

sale('shop', $link{a}, 1);
sale('theirs', $theirs, 2);
is($t->ctl('payout create org=acme')->{total}, '1.00 EUR', 'a batch has what '
   . 'its org owes');
is($t->ctl('payout create org=beta')->{total}, '2.00 EUR', 'each its own');
sale('shop', $link{a}, 3);

my $change = 'owner admin';
my $read = 'owner admin analyst';
my %call = (
    payout_create => [ 'org=acme', $change ],
    payout_list   => [ 'org=acme', $read ],
    payout_show   => [ 'org=acme batch=1', $read ],
    payout_close  => [ 'org=acme batch=1', $change ],
    payout_cancel => [ 'org=acme batch=1 reason=x', $change ],
    payout_export => [ 'org=acme batch=1', $change ],
);

is(join(' ', sort keys %call),
   join(' ', sort keys %{ functions($t, qr/^payout_/) }),
   'every function of this noun is held against its roles here');

sub state_of {
    my ($actor, $function, $args) = @_;

    my $answer = ask($t, $actor, $function, map { split /=/, $_, 2 }
                                            split ' ', $args);

    return ref $answer ? 'ok' : $answer;
}

for my $function (sort keys %call) {
    my ($args, $roles) = @{ $call{$function} };
    my @wrong;

    for my $actor (qw(owner admin analyst partner stranger)) {
        my $state = state_of($actor, $function, $args);

        push @wrong, "$actor: $state"
            if $state ne ($roles =~ /\b$actor\b/ ? 'ok' : 'US403');
    }

    is("@wrong", '', "$function: $roles");
    is(state_of('owner', $function, $args =~ s/org=acme/org=beta/r), 'US403',
       '... of its own org');
    is(state_of('owner', $function, $args =~ s/batch=1/batch=2/r), 'US404',
       '... whose batch it is') if $args =~ /batch/;
}

is(state_of('owner', 'payout_list', ''), 'US403', 'nor of all orgs');
is(join(' ', map { $_->{org} } @{ ask($t, 'analyst', 'payout_list',
                                      org => 'acme') }), 'acme',
   'who may read an org reads its batches');

unlike(JSON::PP->new->encode(ask($t, 'owner', 'payout_show', org => 'acme',
                                 batch => 1)), qr/example\.com|DE7/,
       'nothing personal is shown');
like(ask($t, 'owner', 'payout_export', org => 'acme', batch => 1)->{csv},
     qr/ann\@example\.com,DE7,/, 'but in the file, for who may');

# values that cannot be

my $rows = $t->sql('select count(*) from usher.audit');

like($t->ctl_fails($_->[0]), qr/^usherctl:[^\n]*${\ $_->[1]}.*\nhint:/s,
     $_->[0])
    for [ 'payout create org=none', 'no org "none"' ],
        [ 'payout create org=acme partner=none', 'no partner "none"' ],
        [ 'payout create org=acme until=infinity', 'until=' ],
        [ 'payout create org=acme until=2100-01-01', 'until=' ],
        [ 'payout list org=acme state=x', 'state="x" cannot be' ],
        [ 'payout list org=acme limit=0', 'limit=0 cannot be' ],
        [ 'payout show org=acme batch=9', 'no batch 9' ],
        [ 'payout close org=acme batch=9', 'no batch 9' ],
        [ 'payout close org=acme batch=1 reason=' . 'x' x 201, 'too long' ],
        [ 'payout cancel org=acme batch=1 reason=', 'needs a reason=' ],
        [ 'payout cancel org=acme batch=2 reason=x', 'no batch 2' ];

is($t->sql('select count(*) from usher.audit'), $rows, 'nothing was done');

$t->ctl('payout cancel org=acme batch=1 reason=x');
$t->ctl('payout close org=acme batch='
        . $t->ctl('payout create org=acme')->{batch});
is(join(' ', map { $_->{function} } reverse @{ $t->ctl('audit list org=acme '
                                                       . 'limit=3') }),
   'payout_cancel payout_create payout_close', 'audit rows');

# what is one org's is not another's, whoever writes it

like(refused($t, $_->[0]), qr/$_->[1]/, "not $_->[1]")
    for [ "update usher.commission_line set payout_id = (select id from
           usher.payout where org_id = 2 limit 1) where payout_id is null
           or org_id = 1", 'commission_line_payout|never changed' ],
        [ "insert into usher.payout (batch_id, org_id, partner_id, currency,
           amount, method, lines) select id, 1, 1, 'EUR', 1, 'x', 1
           from usher.payout_batch where org_id = 2", 'payout_batch' ],
        [ "insert into usher.payout (batch_id, org_id, partner_id, currency,
           amount, method, lines) select id, 2, 1, 'EUR', 1, 'x', 1
           from usher.payout_batch where org_id = 2", 'payout_partner' ];

is($t->sql("select count(*) from unnest(array['payout', 'payout_batch',
            'payout_part', 'payout_left', 'commission_line',
            'commission_rule']) n where has_table_privilege('usher_daemon',
            'usher.' || n, 'select, insert, update, delete, truncate')"), 0,
   'the daemon touches none of it');

done_testing();
