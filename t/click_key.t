# Keys of click ids in the catalogue: made by usherctl, seen by nobody, one
# that signs and others that are known for 24 months.

use lib 't/lib';
use Usher::Test;
use Usher::Click;
use Usher::Secret;
use Usher::Test::Process qw(alive spawn);

my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
$t->ctl('member set actor=olga org=acme role=owner');
key_file($t, 'keys');


# What the list says of each: "0 retired, 1 current".

sub list {
    return join ', ', map { "$_->{key} $_->{state}" } @{ $t->ctl('click_key list') };
}


# Ids in the record, the one that signs behind them.

sub record {
    my $record = JSON::PP->new->decode(
        $t->sql("select usher.directory_record('click_key', 'all')"));

    return join ' ', map({ $_->{id} } @{ $record->{keys} }), '/',
                     $record->{current} // 'none';
}


# What it puts into the outbox.

sub outbox {
    my ($do) = @_;

    $t->sql('delete from usher.directory_outbox');
    ref $do ? $do->() : $t->sql($do);

    return join ', ', map { "$_->[0] @{ $_->[1] }$_->[2]" } $t->rows(q{
        select kind, ids, case when urgent then ' urgent' else '' end
        from usher.directory_outbox order by urgent, id });
}


sub age { $t->sql("update usher.secret set retired_at = now() - ?::interval
                   where kind = 'click' and name = ?", $_[1], $_[0]) }

is(record(), '/ none', 'a record without a key');
is(outbox(sub { $t->ctl('click_key rotate') }), 'click_key all', 'a first one');
is(list(), '0 current', 'which signs');
is(outbox(sub { $t->ctl('click_key rotate') }),
   'click_key all, click_key all', 'another is told');
is(list(), '0 retired, 1 current', 'in its place');
is(record(), '0 1 / 1', 'both are in the record');
is(length $_, 32, '32 bytes') for my @secrets = map { secret_of($t, $_) } 0, 1;
isnt($secrets[0], $secrets[1], 'each its own');
is($t->sql("select string_agg(arguments::text, ' ' order by id) from usher.audit
            where function = 'click_key_rotate'"), '{"key": 0} {"key": 1}',
   'and no more of it in the audit');

# who may

for my $verb ('list', 'rotate') {
    like($t->ctl_fails("click_key $verb --actor olga"), qr/Only the operator may/,
         "$verb is the operator's");
}

like($t->ctl_fails('click_key rotate minted={}'), qr/minted= is not given/,
     'what usherctl makes is not given');
$t->sql("select set_config('usher.actor', '', false)");
is($t->sql("select api.click_key_rotate('{\"name\": \"9\"}')->'mint'->>'name'"),
   2, 'what was made for another row is made again');
ok(!eval { $t->sql("select api.click_key_rotate('{\"name\": \"2\"}')"); 1 },
   'a key that is not encrypted');
like($@, qr/minted= is not encrypted/, '... is told');

# secret put and the others

for my $case ([ 'click//2 x', qr/value= is no click key.*32 bytes/s ],
              [ 'click//16 32', qr/name="16" cannot be.*0 to 15/s ],
              [ 'click//07 32', qr/name="07" cannot be/ ],
              [ 'click/acme/2 32', qr/the operator's.*Leave org= out/s ],
              [ 'click//1 32', qr/there is a click key 1.*key rotate/s ])
{
    my ($row, $bytes) = split / /, $case->[0];
    my $value = $bytes eq 'x' ? 'value=random:31' : "value=random:$bytes";

    like($t->ctl_fails(call('put', $row, $value)), $case->[1], "no $case->[0]");
}

ok(!eval { $t->sql("update usher.secret set name = 'x' where kind = 'click'"); 1 },
   'nor by hand');
is(outbox(sub { $t->ctl('secret recrypt') }), '', 'nothing to be done');
key_file($t, 'new', 'keys');
is(outbox(sub { $t->ctl('secret recrypt') }), 'click_key all, click_key all',
   'encrypted anew: the edges are told');
is(secret_of($t, 0), $secrets[0], 'it is what it was');
is(outbox(sub { $t->ctl(call('put', 'source/acme/x', 'value=random:32')) }), '',
   'other secrets are not theirs');
is(outbox("update usher.secret set retired_at = now() where kind = 'click'
           and name = '1'"), 'click_key all', 'retired without another');
is(record(), '0 1 / none', 'none signs');

# 24 months

age(0, '24 months -1 minute');
is(record(), '0 1 / none', 'known for 24 months');
$t->sql('select usher.keep_due()');
is(outbox('select usher.keep_due()'), '', 'nothing is due');
age(0, '24 months -200 ms');
$t->wait_for(sub { outbox('select usher.keep_due()') eq 'click_key all urgent' },
             'the edges are told of the end');
is(record(), '1 / none', 'no longer');
like(list(), qr/^0 unknown, 1 retired$/, 'the list says so');
is(outbox(sub { $t->ctl('secret drop kind=click name=1') }),
   'click_key all urgent', 'taken away');
is(record(), '/ none', 'and gone');

# several at once

my @pids = map { spawn(cmd => [ "$t->{dir}/bin/usherctl", qw(click_key rotate) ],
                       out => "$t->{dir}/rotate.$_", as_root => 1,
                       env => { %{ $t->san_env }, USHER_KEY_FILE => $ENV{USHER_KEY_FILE},
                                USHER_DATABASE => $t->dsn('usherctl') }) } 1 .. 6;
$t->wait_for(sub { !grep { alive($_) } @pids }, 'six at once');
is(join(' ', sort map { JSON::PP->new->decode($t->slurp("$t->{dir}/rotate.$_"))->{key} }
             1 .. 6), '1 2 3 4 5 6', 'have an id each');
is(() = list() =~ /current|active/g, 1, 'and one signs');
is(scalar(grep { length secret_of($t, $_) == 32 } 1 .. 6), 6, 'all of them open');

# 16 of them, and no more until one is known no longer

$t->ctl('click_key rotate') for 7 .. 15;
age(0, '23 months');
like($t->ctl_fails('click_key rotate'),
     qr/16 click keys, and each is known until 20\d\d-.*US409/s, 'no 17th');
is(record(), join(' ', 0 .. 15, '/', 15), 'nothing was done');
age(0, '25 months');
my $old = secret_of($t, 0);
is($t->ctl('click_key rotate')->{key}, 0, 'in place of one that is known no longer');
isnt(secret_of($t, 0), $old, 'by another key');
is(record(), join(' ', 0 .. 15, '/', 0), 'which signs');

# a clock that runs ahead makes none old

age(3, '25 months');
$t->sql("insert into usher.journal (slot, last_event)
         values (repeat('0', 32)::uuid, now() - interval '2 months')");
like($t->ctl_fails('click_key rotate'), qr/16 click keys/, 'by the newest event');

done_testing();
