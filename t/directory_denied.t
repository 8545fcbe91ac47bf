#!/usr/bin/perl

# Rights that usherd's user of Redis has not: each is said once, nothing is
# written again and again for it, and the directory goes on when it has them.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->write_file('password', "geheim\n");
$t->redis_cli('acl', 'setuser', 'usherd', 'on', '>geheim', '~*', '+@all');
$t->usherd(duties => 'directory', conf => { redis => {
    user => 'usherd', password_file => "$t->{dir}/password" } });
customers($t);
key_make($t, 'one');
$t->wait_for(sub { record($t, key_id('one'))
                   && !$t->sql('select count(*) from usher.directory_outbox') },
             'all records');


sub said { scalar(() = $t->log_of('usherd') =~ /$_[0]/g) }

sub calls {
    my ($command) = @_;

    return $t->redis_cli('info commandstats')
           =~ /^cmdstat_$command:.*rejected_calls=(\d+)/m ? $1 : 0;
}


# It is taken away, refused some times, and given back; how many lineages begin.

sub denied {
    my ($right, $what, $lineages) = @_;

    my $said = said("refused $what");
    my $begun = said('a new lineage');
    my $calls = calls($right);

    $t->redis_cli('acl', 'setuser', 'usherd', "-$right");
    $t->redis_cli('del usher:d:ready') if $lineages;
    $t->wait_for(sub { said("refused $what") > $said }, "$right: said");
    $t->wait_for(sub { calls($right) > $calls + 3 }, "$right: tried", 20);
    is(said("refused $what"), $said + 1, "$right: said once");
    is(said('a new lineage'), $begun + $lineages, "$right: as is what it does");
    $t->redis_cli('acl', 'setuser', 'usherd', "+$right");
    key_make($t, $right);
    $t->wait_for(sub { record($t, key_id($right))
                       && lineage($t) =~ /^\w{16}$/
                       && !$t->sql('select count(*)
                                    from usher.directory_outbox') },
                 "$right: it goes on", 20);
}

denied('get', 'a script', 0);
denied('mget', 'MGET', 0);
denied('scan', 'SCAN', 1);
denied('unlink', 'a script', 1);
unlike($t->log_of('usherd'), qr/ended by signal/, 'the duty lives');

done_testing();
