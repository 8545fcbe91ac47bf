# secret recrypt: all by the first key of the key file, while others put, and
# after it was killed; what does not open is told and left as it is.

use lib 't/lib';
use Usher::Test;
use Usher::Secret;
use Usher::Test::Process qw(alive spawn);


my $t = Usher::Test->new;
my @rows = map { "network/acme/n$_" } 1 .. 5;

$t->postgres;
$t->ctl('org create name=acme');

my $old = key_file($t, 'old');
my $new = key_file($t, 'new', 'old');
my %name = (id_of($old) => 'old', id_of($new) => 'new');


sub by_old { local $ENV{USHER_KEY_FILE} = $old; return put($t, @_) }

sub keys_of { return join ' ', map { $name{key_of($t, $_)} } @rows }

sub plains { return join ' ', map { plain($t, $_) } @rows }

sub anew { return $t->ctl('secret', 'recrypt', @_) }


# In the background; returns when it waits for the lock of the third row,
# which is another session's, with two rows done.

sub anew_behind_a_lock {
    my $other = $t->db->clone;

    $other->begin_work;
    $other->do("select 1 from usher.secret where name = 'n3' for update");

    my $pid = spawn(cmd => [ "$t->{dir}/bin/usherctl", qw(secret recrypt limit=2) ],
                    out => "$t->{dir}/anew", as_root => 1,
                    env => { %{ $t->san_env }, USHER_KEY_FILE => $new,
                             USHER_DATABASE => $t->dsn('usherctl') });

    $t->wait_for(sub { waiting() }, 'it waits for a row');

    return ($other, $pid);
}


sub waiting {
    return $t->sql("select pid from pg_stat_activity
                    where wait_event_type = 'Lock' and query ~ 'secret_recrypt'");
}


sub answered {
    my ($pid) = @_;

    $t->wait_for(sub { !alive($pid) }, 'it is done');

    return JSON::PP->new->decode($t->slurp("$t->{dir}/anew"));
}


by_old($_, "of $_") for @rows;
put($t, 'source//1', 'new');
is(keys_of(), 'old old old old old', 'by the old key');

my $changed = $t->sql("select max(changed_at) from usher.secret");
is_deeply(anew('limit=2'), { ok => JSON::PP::true, key => id_of($new), recrypted => 5,
                             changed => 0, unreadable => [] }, 'all of them');
is(keys_of(), 'new new new new new', 'by the new key');
is(plains(), join(' ', map { "of $_" } @rows), 'they are what they were');
is($t->sql('select max(changed_at) from usher.secret'), $changed,
   'and were not changed by that');
is(anew()->{recrypted}, 0, 'nothing is left to be done');
is($t->sql("select string_agg(arguments->>'replaced', ' ' order by id)
            from usher.audit where function = 'secret_recrypt'"), '2 2 1',
   'each page is in the audit, if something was done');

# somebody puts while it runs

by_old($rows[2], 'later');
my $later = sealed($t, $rows[2]);
by_old($_, 'was') for @rows;

my ($other, $pid) = anew_behind_a_lock();

is(keys_of(), 'new new old old old', 'two are done');
by_old($rows[0], 'passed');
$other->do("select api.secret_put('network', 'n3', ?, 'acme')", undef, $later);
$other->commit;

my $answer = answered($pid);
is(plain($t, $rows[2]), 'later', 'what was put meanwhile stays');
is($answer->{changed}, 1, 'and is counted');
is($answer->{recrypted}, 6, 'then it is done like those that were passed');
is(keys_of(), 'new new new new new', 'all by the new key');
is(plains(), 'passed was later was was', 'and as they were put');

# it is killed

by_old($_, "again $_") for @rows;
($other, $pid) = anew_behind_a_lock();
kill 'KILL', $pid;
my $backend = waiting();
$t->sql("select pg_terminate_backend(?)", $backend);
$t->wait_for(sub { !alive($pid) && !waiting() }, 'killed');
$other->rollback;

is(keys_of(), 'new new old old old', 'some are done');
is(anew()->{recrypted}, 3, 'the others are when it is called again');
is(plains(), join(' ', map { "again $_" } @rows), 'as they were put');

# many put, and it runs again and again

by_old($_, 'v0') for @rows;
$pid = fork() // die;

if (!$pid) {
    by_old($rows[$_ % 5], "v$_") for 1 .. 20;
    require POSIX;
    POSIX::_exit(0);
}

my ($code, $runs) = (0, 0);

while (alive($pid)) {
    ($code) = $t->ctl_run('secret recrypt limit=2');
    $runs++;
    last if $code;
}

is($code, 0, 'no run failed') and note("$runs runs");
anew();
is(keys_of(), 'new new new new new', 'all by the new key');
is(plains(), 'v20 v16 v17 v18 v19', 'and the last that was put');

# what does not open

by_old($rows[0], 'x');
put($t, 'network//alone', 'y');
$t->sql("update usher.secret set ciphertext = (select s.ciphertext
         from usher.secret s where s.name = 'n1') where name = 'n2'");
my $third = key_file($t, 'third', 'new');
$name{id_of($third)} = 'third';
($code, my $out) = $t->ctl_run('secret recrypt limit=1');
$answer = JSON::PP->new->decode($out);
is($code, 3, 'an exit code of its own');
is_deeply([ map { "$_->{name} $_->{why}" } @{ $answer->{unreadable} } ],
          [ "n2 it was changed, or is another's" ], 'another\'s is told');
is($answer->{recrypted}, 6, 'and holds up nobody');
is(keys_of(), 'third old third third third', 'it is as it was');

# a key file that was lost, and another in its place

$ENV{USHER_KEY_FILE} = $t->write_file('lost', (id_of($third) + 1) % 256 . ' '
                                              . 'A' x 43 . "=\n");
chmod 0600, $ENV{USHER_KEY_FILE};
$answer = anew();
is($answer->{ok}, JSON::PP::false, 'bad news');
is(join(' ', sort map { "$_->{name} $name{$_->{key}}" } @{ $answer->{unreadable} }),
   '1 third alone third n1 third n2 old n3 third n4 third n5 third', 'by key');
like($answer->{unreadable}[0]{why}, qr/its key is not in the key file/, 'told');

# who else calls it

$ENV{USHER_KEY_FILE} = $third;
like($t->ctl_fails('secret recrypt resealed={}'), qr/resealed= is not given/,
     'what usherctl makes is not given');
ok(!eval { $t->sql('select api.secret_recrypt()'); 1 }, 'without a key');
like($@, qr/resealed= has no key/, 'it is refused');

done_testing();
