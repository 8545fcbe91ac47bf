# Plans come and go; what somebody has or had stays.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

$t->ctl('org create name=acme');
$t->ctl("plan create name=$_") for qw(pro max old);
$t->ctl('plan policy set plan=pro policy=rps rate=1/s');
my $key = $t->ctl('key create org=acme plan=pro')->{id};
$t->ctl('subscription start org=acme plan=old');
$t->ctl('subscription end org=acme');

like($t->ctl_fails('plan drop plan=pro'),
     qr/"pro" is in use: 1 keys, 0 subscr.*"usherctl key update" with plan=/s,
     'a plan that a key has stays');
like($t->ctl_fails('plan drop plan=old'), qr/0 keys, 1 subscriptions.*hint/s,
     'as does one that an org had');
like($t->ctl_fails('plan drop plan=nope'), qr/no plan "nope".*hint/s,
     'one that is none');

$t->sql('delete from usher.directory_outbox');
is($t->ctl('plan drop plan=max')->{dropped}, JSON::PP::true, 'dropped');
is_deeply([ $t->rows("select kind, ids, urgent from usher.directory_outbox") ],
          [ [ 'plan', [ 2 ], 0 ] ], 'the edges hear of it');

$t->ctl('key', 'update', "key=$key", 'plan=');
$t->ctl('plan drop plan=pro');
is($t->sql('select count(*) from usher.plan_policy'), 0, 'with its policies');
is(join(' ', map { $_->{name} } @{ $t->ctl('plan list') }), 'old',
   'the others are there');
is($t->ctl('audit list limit=1')->[0]{function}, 'plan_drop',
   'with an audit row');

done_testing();
