#!/usr/bin/perl

# A Redis that has no memory for the directory: a rebuild is tried each second,
# which is said once, and passes when there is memory.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
customers($t);
$t->sql("insert into usher.key (org_id, digest)
         select 1, sha256(i::text::bytea) from generate_series(1, 3000) i");

my ($used) = $t->redis_cli('info memory') =~ /used_memory:(\d+)/;

$t->redis_cli('config', 'set', 'maxmemory', $used + 700_000);
$t->usherd(duties => 'directory');


sub said { scalar(() = $t->log_of('usherd') =~ /$_[0]/g) }


$t->wait_for(sub { said('refused a script.*OOM') }, 'refused: said', 20);

my @lineages = $t->sql('select lineage from usher.directory_state');

while (@lineages < 4) {
    $t->wait_for(sub { $t->sql('select lineage from usher.directory_state')
                       ne $lineages[-1] }, 'it is tried again', 20);
    push @lineages, scalar $t->sql('select lineage from usher.directory_state');
}

is(said('a new lineage'), 1, 'said once that it begins');
is(said('refused a script'), 1, 'and that it is refused');
is(said('takes that script'), 0, 'and no end of it');
is($t->redis_cli('exists usher:d:ready'), 0, 'nothing is ready');
$t->redis_cli('config set maxmemory 0');
$t->wait_for(sub { lineage($t) =~ /^\w{16}$/ }, 'there is memory: ready', 20);
is(said('a new lineage'), 1, 'the one that began');
is(said('takes that script'), 1, 'its end is said');
is((grep { !record($t, key_id($_)) } 1, 1500, 3000), 0, 'and records');

done_testing();
