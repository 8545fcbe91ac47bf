#!/usr/bin/perl

# What a usherd sent while it had the lease, and comes to Redis when another
# has taken over and has written all again: it takes nothing away.

use lib 't/lib';
use Usher::Proxy;
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
customers($t);
key_make($t, $_) for qw(one two three);

my $proxy = Usher::Proxy->new($t, 'redis.sock');


sub records {
    return map { scalar $t->redis_cli('get', 'usher:d:' . key_id($_)) }
           qw(one two three);
}


# The first usherd begins to write all again, what it asks is held back at this
# place, and it dies; a second one does it.

sub late {
    my ($what, $place) = @_;

    $t->usherd(name => 'usherd1', duties => 'directory', conf => { redis => {
        address => $proxy->address } });
    $t->wait_for(sub { lineage($t) =~ /^\w{16}$/ }, "$what: a lineage");
    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, "$what: idle");

    my $old = lineage($t);

    $proxy->hold($place);
    $t->redis_cli('del usher:d:ready');
    $t->wait_for(sub { $proxy->held }, "$what: held back");
    $t->kill9('usherd1');
    $t->usherd(name => 'usherd2', duties => 'directory');
    $t->wait_for(sub { lineage($t) =~ /^\w{16}$/ && lineage($t) ne $old },
                 "$what: another one does it", 30);
    $t->wait_for(sub {
        !$t->sql('select count(*) from usher.directory_outbox')
    }, "$what: and is done");

    my $new = lineage($t);
    my @records = records();

    unlink "$t->{dir}/monitor";

    my $monitor = monitor($t);

    $proxy->release;
    $t->wait_for(sub { asked($monitor, $place) }, "$what: it comes");
    is(lineage($t), $new, "$what: the lineage is ready");
    is_deeply([ records() ], \@records, "$what: its records are there");
    kill 'KILL', $monitor->{pid};
    $t->stop('usherd2');
}


late('clear', 'usher:d:building.*usher:d:key:|UNLINK');
late('begin', 'EVALSHA\W.*\W3\W.*usher:d:building\W');

done_testing();
