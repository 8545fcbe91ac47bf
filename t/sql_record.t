# The records that the edges read, and leases.

use lib 't/lib';
use Usher::Test;

use Digest::SHA qw(sha256_hex);


my $t = Usher::Test->new;

$t->postgres;
$t->sql('set role usher_owner');

$t->sql("insert into usher.org (name) values ('acme')");
$t->sql("insert into usher.plan (name) values ('pro'), ('max')");
$t->sql("insert into usher.key (org_id, digest, scopes, allow)
         values (1, sha256('k'), '{read,write}', '{10.0.0.0/8,::1}')");

my $id = sha256_hex('k');


sub record {
    my $text = $t->sql('select usher.directory_record(?, ?)', @_ ? @_ :
                       ('key', $id));

    return $text && JSON::PP->new->decode($text);
}


is_deeply(record(), { id => 1, org => 'acme', org_id => 1, plan_id => undef,
                      scope => 'read write', allow => '10.0.0.0/8 ::1/128',
                      exp => undef, state => 'active' }, 'a key');

$t->sql("insert into usher.subscription (org_id, plan_id) values (1, 1)");
is(record()->{plan_id}, 1, 'the plan is that of the subscription');
$t->sql('update usher.key set plan_id = 2');
is(record()->{plan_id}, 2, 'or its own');
$t->sql('update usher.key set plan_id = null');
$t->sql("update usher.subscription set starts_at = now() + interval '1 h'");
is(record()->{plan_id}, undef, 'a coming subscription is none');
$t->sql("update usher.subscription set starts_at = now() - interval '2 h',
         ends_at = now() - interval '1 h'");
is(record()->{plan_id}, undef, 'nor is an ended one');

$t->sql("update usher.key set expires_at = to_timestamp(2000000000)");
is(record()->{exp}, 2000000000, 'expiry in seconds');

for (['-infinity', 0], ['0044-03-15 BC', 0], ['infinity', undef]) {
    $t->sql('update usher.key set expires_at = ?', $_->[0]);
    is(record()->{exp}, $_->[1], "expiry at $_->[0]");
}

$t->sql("update usher.key set expires_at = to_timestamp(2000000000)");

$t->sql("insert into usher.key (org_id, digest) values (1, sha256('n'))");
$t->sql("update usher.key set successor_id = 2,
         grace_until = to_timestamp(1999999999.5) where id = 1");
my $r = record();
is_deeply([ @$r{qw(state exp rot)} ], [ 'active', 2000000000, 1 ],
          'in grace it lives until the grace ends');
$t->sql("update usher.key set expires_at = to_timestamp(1999999990)
         where id = 1");
$r = record();
is_deeply([ @$r{qw(state exp rot)} ], [ 'active', 1999999990, undef ],
          'or until it expires, if that is sooner');
$t->sql("update usher.key set grace_until = now() where id = 1");
is(record()->{state}, 'rotated', 'after the grace');
$t->sql("update usher.org set disabled_at = now()");
is(record()->{state}, 'disabled', 'a disabled org');
$t->sql("update usher.key set revoked_at = now() where id = 1");
is(record()->{state}, 'revoked', 'a revoked key stays so');

is(record('key', $_), undef, "no record: $_")
    for sha256_hex('x'), 'x', '', uc $id, "$id\n";
is(record('plan', $_), undef, "no plan: $_")
    for '99', '-1', 'x', '', '1' x 40;
ok(!eval { record('other', 'x'); 1 }, 'an unknown kind is an error');

is_deeply(record('plan', '1'), { id => 1, name => 'pro', policies => [] },
          'a plan without policies');
$t->sql("insert into usher.plan_policy values
         (1, 'day', 1000, 86400, 1000, 'org', 0),
         (1, 'rps', 20, 1, 40, 'key', 1), (1, 'a', 5, 1, 5, 'key', 0)");
is_deeply(record('plan', '1')->{policies}, [
    { name => 'a', quota => 5, window => 1, burst => 5, scope => 'key',
      bucket => 0 },
    { name => 'rps', quota => 20, window => 1, burst => 40, scope => 'key',
      bucket => 1 },
    { name => 'day', quota => 1000, window => 86400, burst => 1000,
      scope => 'org', bucket => 0 } ], 'policies');

is_deeply([ sort map { $_->[0] } $t->rows(
                'select id from usher.directory_records($1, $2)', 'key',
                [ 'x', $id, sha256_hex('n'), sha256_hex('gone') ]) ],
          [ sort $id, sha256_hex('n') ], 'several at once, those there are');
is_deeply([ sort map { $_->[0] } $t->rows(
                'select usher.directory_ids($1)', 'key') ],
          [ sort $id, sha256_hex('n') ], 'all ids');

my @ids = sort $id, sha256_hex('n');

is_deeply([ map { $_->[0] } $t->rows('select usher.directory_page($1, null)',
                                     'key') ], \@ids, 'a page of ids');
is_deeply([ map { $_->[0] } $t->rows('select usher.directory_page($1, $2)',
                                     'key', $ids[0]) ], [ $ids[1] ],
          'what is behind one');
is_deeply([ $t->rows('select usher.directory_page($1, $2)', 'plan',
                     $t->sql('select max(id) from usher.plan')) ], [],
          'and behind the last: none');

# the moment counts, not the transaction's beginning

$t->db->begin_work;
$t->sql('select now()');
$t->sql("update usher.subscription set starts_at = clock_timestamp(),
         ends_at = null");
is($t->sql("select usher.directory_record('key', ?)->>'plan_id'", $id), 1,
   'a record is as of the moment');
$t->db->rollback;

# leases

sub take { $t->sql('select usher.lease_take(?, ?, ?)', @_) }
sub drop { $t->sql('select usher.lease_drop(?, ?)', @_) }

$t->sql('set role usher_daemon');
is(take('a', 'me', 60), 1, 'a lease is taken');
is(take('a', 'you', 60), undef, 'once');
is(take('b', 'you', 60), 1, 'another one');
is(take('a', 'me', 60), 1, 'extending keeps the token');
is(drop('a', 'you'), 0, 'only who holds it gives it back');
is(drop('a', 'me'), 1, 'and does');
is(take('a', 'you', 0), 2, 'the next owner has a higher token');
$t->wait_for(sub { take('a', 'me', 60) }, 'taken after its end');
is($t->sql("select attempt from usher.lease where name = 'a'"), 3,
   'with a higher token');

done_testing();
