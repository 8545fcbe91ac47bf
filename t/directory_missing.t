#!/usr/bin/perl

# A record is deleted in Redis by hand: usherd finds that it is missing, and
# edges that took its key for unknown know it again.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
my $key = key_new($t);

edge($t);


sub id_of {
    return 'key:' . $t->sql("select encode(digest, 'hex') from usher.key
                             where id = ?", $_[0]);
}


sub idle {
    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, 'idle');
}


sub missing {
    return $t->metrics =~ /^usherd_directory_missing_total\S* (\d+)$/m && $1;
}


my $id = id_of($key->{id});

$t->wait_for(sub { record($t, $id) }, 'a record');
idle();
$t->signal('directory', 'STOP');
$t->redis_cli('del', "usher:d:$id");
$t->wait_for(sub { status($t, $key) == 401 }, 'deleted: unknown');
$t->signal('directory', 'CONT');
$t->wait_for(sub { record($t, $id) }, 'found missing');
$t->wait_for(sub { status($t, $key) == 200 }, 'found missing: known again');
like($t->log_of('usherd'), qr/1 records of kind key were missing/, 'and said');
is(missing(), 1, 'and counted');

# on whatever page it is, and of the other kind

$t->sql("insert into usher.key (org_id, digest)
         select 1, sha256(('bulk' || i)::bytea)
         from generate_series(1, 2500) i");
$t->sql("insert into usher.plan (name) values ('pro')");
idle();
is(missing(), 1, 'what is new is not missing');

my @ids = map { $_->[0] } $t->rows('select usher.directory_ids($1)', 'key');
my @gone = map { "key:$_" } (sort @ids)[0, 1200, -1];

push @gone, 'plan:' . $t->sql('select id from usher.plan');
ok(record($t, $_), 'is there') for @gone;
$t->redis_cli('del', map { "usher:d:$_" } @gone);
$t->wait_for(sub { record($t, $_) }, 'on any page', 20) for @gone;

# one that the outbox has is on its way

(my $dsn = $t->dsn) =~ tr/ /;/;
my $other = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

idle();
$t->signal('directory', 'STOP');
my $waits = key_make($t, 'waits');
$other->begin_work;
$other->do('select 1 from usher.directory_outbox for update');
$t->signal('directory', 'CONT');

my $missing = missing();
my $first = (sort @ids)[0];

for (1, 2) {
    $t->redis_cli('del', "usher:d:key:$first");
    $t->wait_for(sub { record($t, "key:$first") }, 'a whole turn', 20);
}
is(missing(), $missing + 2, 'what waits is not missing');
ok(!record($t, key_id('waits')), 'it waits');
$other->rollback;
$t->wait_for(sub { record($t, key_id('waits')) }, 'until it is written');

done_testing();
