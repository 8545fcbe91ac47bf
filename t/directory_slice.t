#!/usr/bin/perl

# Redis comes back with the first slice of a batch that PostgreSQL has noted as
# done (a replica, a log cut in its midst): its nonce is the right one, its
# number is not, and all is written again.

use lib 't/lib';
use Usher::Test;

use Redis;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=big');
$t->sql("insert into usher.key (org_id, digest)
         select o.id, sha256(i::text::bytea)
         from usher.org o, generate_series(1, 1000) i");

my $redis = Redis->new(sock => "$t->{dir}/redis.sock", encoding => undef);

sub records { $redis->keys('usher:d:key:*') }

# a rebuild takes records away between the two questions

sub active {
    return scalar grep { /"active"/ } grep { defined }
           map { $redis->get($_) } records();
}

sub number { ($redis->get('usher:d:nonce') =~ /^(\w+) (\d+)$/)[$_[0]] }

sub idle { !$t->sql('select count(*) from usher.directory_outbox') }


$t->wait_for(sub { active() == 1000 && idle() }, 'all are active');

my %old = map { $_ => $redis->get($_) } records();
my $before = number(1);

$t->ctl('org disable org=big');
$t->wait_for(sub { active() == 0 && idle() }, 'all are disabled');

my @slices = @{ $redis->xrange('usher:changes', ($before + 1) . '-0', '+') };

cmp_ok(@slices, '>', 1, 'by several slices');
$t->stop('usherd');

my %first = map { ("usher:d:key:$_" => 1) }
            split / /, { @{ $slices[0][1] } }->{i};

$redis->set($_, $old{$_}) for grep { !$first{$_} } keys %old;
$redis->del('usher:changes');
$redis->xadd('usher:changes', $slices[0][0], @{ $slices[0][1] });
$redis->set('usher:d:nonce', number(0) . ' ' . ($before + 1));
cmp_ok(active(), '>', 0, 'Redis has the first one only');

$t->start('usherd');
$t->wait_for(sub { active() == 0 }, 'all are disabled again');
like($t->log_of('usherd'), qr/new lineage/, 'by a new lineage');

# whose numbers begin anew, and are no reason for another

$t->ctl('org enable org=big');
$t->wait_for(sub { active() == 1000 && idle() }, 'then all are active');
$t->restart('usherd');
$t->ctl('org disable org=big');
$t->wait_for(sub { active() == 0 }, 'and disabled');
is(scalar(() = $t->log_of('usherd') =~ /of lineage \w+ written/g), 2,
   'no other lineage');

done_testing();
