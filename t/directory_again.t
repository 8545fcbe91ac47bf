#!/usr/bin/perl

# A batch that is in Redis and cannot be noted as done is written again each
# second.  Edges have seen nothing that is not there: no number is left out,
# and what is wrong is said once.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory',
           conf => { postgres => { statement_timeout_ms => 300 } });
$t->ctl('org create name=acme');
my $key = key_new($t);

edge($t);
$t->wait_for(sub { status($t, $key) == 200 }, 'admitted');
idle();

my $lineage = lineage($t);
my $last = last_change();


sub idle {
    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, 'idle', 20);
}


sub last_change { return (changes($t))[-1][0] }

sub said { scalar(() = $t->log_of('usherd') =~ /$_[0]/g) }


# somebody makes an index on the outbox: nothing can be deleted there

(my $dsn = $t->dsn) =~ tr/ /;/;
my $other = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

$t->signal('directory', 'STOP');
$t->sql('update usher.key set revoked_at = now() where id = ?', $key->{id});
$other->begin_work;
$other->do('lock table usher.directory_outbox in share mode');
$t->signal('directory', 'CONT');

$t->wait_for(sub { status($t, $key) == 401 }, 'revoked all the same');
$t->wait_for(sub { changes($t, $last) >= 4 }, 'written again and again', 20);

my @ids = map { $_->[0] } changes($t, $last);

is_deeply(\@ids, [ $last + 1 .. $last + @ids ], 'no number is left out');
is(said('a transaction of the directory failed'), 1, 'said once');
$other->rollback;
idle();
$t->wait_for(sub { said('transactions of the directory pass') == 1 },
             'as is its end');
unlike($t->error_log, qr/are missing/, 'edges ask for nothing again');

# the error of a server is not taken for another's

$t->redis_cli('acl', 'setuser', 'default', '-xinfo|stream');
$t->sql("update usher.key set scopes = '{a}' where id = ?", $key->{id});
$t->wait_for(sub { said('refused a script') }, 'Redis refuses a script');
$t->redis_cli('acl', 'setuser', 'default', '+xinfo|stream');
idle();
is(said('a transaction of the directory failed'), 1, 'none of PostgreSQL');
is(lineage($t), $lineage, 'all in one lineage');

done_testing();
