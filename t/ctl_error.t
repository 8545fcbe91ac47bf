# Whatever goes wrong is said with a hint; a value that the database cannot
# read by its argument's name, with what was given and what is expected.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
$t->ctl('key create org=acme');


sub fails { my ($code, $out, $err) = $t->ctl_run(@_); return ($code, $err) }


for my $case (
    [ 'event list since=garbage', qr/since="garbage" is not a time\n.*2026-/ ],
    [ 'usage total from=2020-13-01', qr/from="2020-13-01" is not a time\n/ ],
    [ 'event list org=acme limit=abc',
      qr/limit="abc" is not a whole number\n.*limit=10/ ],
    [ 'event list limit=3000000000', qr/limit="3000000000" .*\n.*2147483647/ ],
    [ 'audit list before=x', qr/before="x" is not a whole number\n/ ],
    [ 'key create org=acme expires=foo', qr/expires="foo" is not a time\n/ ],
    [ 'key rotate key=1 grace=foo',
      qr/grace="foo" is not a length of time\n.*grace=90s/ ],
    [ 'journal gaps open=perhaps', qr/open="perhaps" is not true or false\n/ ],
    [ "org update org=acme title=\xff", qr/title= was given is not UTF-8\n/ ],
    [ 'audit list before=' . 'é' x 100, qr/before="(é){30}" is/ ],
) {
    my ($call, $message) = @$case;
    my ($code, $err) = fails($call);

    is($code, 1, substr $call, 0, 40);
    like($err, $message, '... which, and what it should be');
    like($err, qr/\nhint: .*\nreason: bad argument \(22/, '... and the reason');
}

is($t->sql('select count(*) from usher.key'), 1, 'nothing was done');

# every other error

$t->sql(q{
    set role usher_owner;
    create function api.trouble_show(state text) returns jsonb
    language plpgsql as $$ begin
        raise exception using errcode = state, message = 'trouble';
    end $$;
    reset role });

for my $state (qw(08006 22003 23505 40001 42501 53100 55P03 57014 XX000 US400))
{
    my ($code, $err) = fails("trouble show state=$state");

    is($code, 1, "SQLSTATE $state");
    like($err, qr/^usherctl: trouble\nhint: \S.*\nreason: .*\($state\)\n$/,
         '... has a hint');
}

for my $call ('kye list', 'key lst', 'key create', 'key create org=a org=b',
              'key create ogr=acme', 'org list --actor', 'org list --nope',
              'org create name=@/nowhere', 'org update org=- title=-',
              'org create name=a b', 'x' x 5000 . ' y=1',
              join(' ', ('x') x 70), 'a=' . join ' a=', 1 .. 70)
{
    my ($code, $err) = fails($call);

    is($code, 2, 'usage: ' . substr $call, 0, 30);
    like($err, qr/\nhint: \S|\n  \w/, '... has a hint, or shows what there is');
}

my ($code, $err) = fails('org disable org=acme reason=' . 'x' x 201);
like($err, qr/too long\nhint: /, 'a reason is bounded');
($code, $err) = fails('org disable org=acme reason=');
is($code, 0, 'where it may be absent it may be empty');

done_testing();
