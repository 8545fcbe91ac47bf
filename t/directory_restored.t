#!/usr/bin/perl

# Redis and PostgreSQL are restored together, to one moment: they agree, and
# edges have read further.  What is revoked then is heard nevertheless.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
my @keys = map { key_new($t) } 1 .. 5;

edge($t);
$t->wait_for(sub { status($t, $_) == 200 }, 'admitted') for @keys;
idle();

my $lineage = lineage($t);
my $data = $t->dir . '/pgdata';


sub idle {
    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, 'idle');
}


sub revoked {
    my ($key, $what) = @_;

    $t->sql('update usher.key set revoked_at = now() where id = ?',
            $key->{id});
    $t->wait_for(sub { status($t, $key) == 401 }, "$what: revoked");
}


# an honest restart of Redis: all is asked for again, once, in this lineage

$t->stop('usherd');
$t->redis_cli('save');
$t->kill9('redis');
$t->start_redis;
$t->start('usherd');
$t->wait_for(sub { $t->error_log =~ /are missing: all/ }, 'Redis was started');
revoked($keys[0], 'after it');
idle();
$t->restart('usherd');
revoked($keys[1], 'usherd was started');
is(() = $t->error_log =~ /are missing/g, 1, 'once');

# a backup of both

idle();
$t->stop('usherd');
$t->stop('postgres');
$t->redis_cli('save');
system('cp', '-a', $data, "$data.copy") == 0 or die 'cp';
$t->start('postgres');
$t->start('usherd');
revoked($keys[$_], "since the backup $_") for 2, 3;
idle();

# is restored

$t->stop('usherd');
$t->stop('postgres');
$t->kill9('redis');
system('rm', '-rf', $data) == 0 && rename "$data.copy", $data or die 'mv';
$t->start('postgres');
$t->start_redis;
$t->start('usherd');
revoked($keys[4], 'both restored');
$t->wait_for(sub { status($t, $keys[2]) == 200 }, 'the backup is the truth');
is(lineage($t), $lineage, 'in the same lineage');
like($t->ctl('directory show')->{change}, qr/^\d+$/, 'with a number');

done_testing();
