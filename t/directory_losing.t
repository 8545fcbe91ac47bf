#!/usr/bin/perl

# A Redis that loses records, as one does that evicts: they are written again
# each second, as long as it lasts, which is said once.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
customers($t);
$t->usherd(duties => 'directory');
$t->sql("insert into usher.key (org_id, digest)
         select 1, sha256(i::text::bytea) from generate_series(1, 3000) i");
$t->wait_for(sub { record($t, key_id('3000')) }, 'records');
$t->wait_for(sub { !$t->sql('select count(*) from usher.directory_outbox') },
             'idle');


sub said { scalar(() = $t->log_of('usherd') =~ /$_[0]/g) }

sub missing {
    return $t->metrics =~ /^usherd_directory_missing_total\S* (\d+)$/m && $1;
}


# each time after the one before it, before a turn of the sweep has found none

my @seen = 0;

for my $n (1 .. 4) {
    $t->redis_cli('del', map { 'usher:d:' . key_id($_ + 10 * $n) } 1 .. 5);
    $t->wait_for(sub { missing() > $seen[-1] }, "missing ($n)", 30);
    push @seen, missing();
}

is(said('were missing'), 1, 'said once');
$t->wait_for(sub { said('is missing in Redis any more') == 1 },
             'as is its end', 60);
is(said('were missing'), 1, 'and nothing in between');

# another time is another

$t->redis_cli('del', 'usher:d:' . key_id('17'));
$t->wait_for(sub { said('were missing') == 2 }, 'said again', 30);

# and is not over where nobody may look

$t->redis_cli('acl', 'setuser', 'default', '-exists');
$t->wait_for(sub { $t->redis_cli('info commandstats')
                   =~ /_exists:.*rejected_calls=(\d+)/ && $1 > 8 },
             'turns in which it is refused', 40);
is(said('is missing in Redis any more'), 1, 'no end is said');
$t->redis_cli('acl', 'setuser', 'default', '+exists');
$t->wait_for(sub { said('is missing in Redis any more') == 2 },
             'until it may', 40);

done_testing();
