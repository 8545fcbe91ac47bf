#!/usr/bin/perl

# PostgreSQL knows the number of the last change in Redis: after a rebuild,
# wherever the duty dies, and where changes were lost.  A Redis that has a
# lower one is not what edges have read.

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
$t->wait_for(sub { status($t, $key) == 200 }, 'admitted');
known('at first');


sub number { ($t->redis_cli('get usher:d:nonce') =~ /^\w+ (\d+)$/)[0] // 0 }

sub shown { $t->ctl('directory show')->{change} }

sub known {
    my ($what) = @_;

    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, "$what: idle");
    $t->wait_for(sub { number() && shown() == number() }, "$what: known");
    is(shown(), (changes($t))[-1][0], "$what: it is the last change's");
}


sub lock_of {
    my ($table, $mode) = @_;

    (my $dsn = $t->dsn) =~ tr/ /;/;
    my $db = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

    $db->begin_work;
    $db->do("lock table $table in $mode mode");

    return $db;
}


sub renewed {
    my ($old, $what) = @_;

    $t->wait_for(sub { lineage($t) =~ /^\w{16}$/ && lineage($t) ne $old },
                 "$what: a new lineage", 20);
}


# a rebuild

my $lineage = lineage($t);

$t->redis_cli('del usher:d:ready');
renewed($lineage, 'rebuilt');
known('rebuilt');

# the duty dies when it is done, and has not noted it

$lineage = lineage($t);

my $keys = lock_of('usher.key', 'access exclusive');

$t->redis_cli('del usher:d:ready');
$t->wait_for(sub { $t->redis_cli('exists usher:d:building') }, 'it begins');

my $state = lock_of('usher.directory_state', 'share');

$keys->rollback;
renewed($lineage, 'killed');
$lineage = lineage($t);
isnt($t->sql('select change_id from usher.directory_state'), number(),
     'killed: not noted');

my ($old) = $t->duties('directory');

kill 'KILL', $old;
$state->rollback;
$t->wait_for(sub { my ($new) = $t->duties('directory'); $new && $new != $old },
             'killed: a new duty');
known('killed');
is(lineage($t), $lineage, 'killed: in the same lineage');

# changes are deleted, a number is left out, and Redis is as it was before

$t->wait_for(sub { status($t, $key) == 200 }, 'lost: admitted');
$t->redis_cli('save');

my $last = number();

$t->redis_cli('del usher:changes');
$t->wait_for(sub { number() > $last }, 'lost: a gap is shown');
known('lost');
$t->wait_for(sub { $t->get('/usher/status')->json->{directory}{change}
                   == number() }, 'lost: the edge has read it');
$t->wait_for(sub { status($t, $key) == 200 }, 'lost: and asked again');
$t->kill9('redis');
$t->start_redis;
$t->sql('update usher.key set revoked_at = now() where id = ?', $key->{id});
$t->wait_for(sub { status($t, $key) == 401 }, 'set back: revoked', 20);
renewed($lineage, 'set back');
known('set back');

done_testing();
