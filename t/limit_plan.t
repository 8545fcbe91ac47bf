#!/usr/bin/perl

# The buckets of plans: policies of one name in two plans of an org are two
# buckets, and a word that was written when a bucket was deeper is left alone
# by whoever is refused.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);
my %day = (window => 86400, burst => 50, quota => 100);
my %hour = (window => 3600, burst => 1, quota => 1);
my %second = (window => 1, burst => 1, quota => 2);

$d->plan(3, 'big', { name => 'rps', %day, scope => 'org' });
$d->plan(4, 'small', { name => 'rps', %second, scope => 'org' });
$d->plan(5, 'mine', { name => 'rps', %day });
$d->plan(6, 'tiny', { name => 'rps', %second });
$d->plan(7, 'moving', { name => 'rps', %day, scope => 'org' });

$t->nginx(<<'CONF', workers => 2);
    usher_zone 1m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location / {
            usher_auth on;
            usher_limit plan;
        }
    }
CONF

sub ask {
    my ($key) = @_;
    return $t->get('/', 'X-API-Key' => $key);
}

# how many of n are admitted

sub admitted {
    my ($key, $n) = @_;
    return scalar grep { ask($key)->status != 429 } 1 .. $n;
}

sub policy_is {
    my ($key, $text, $what) = @_;

    $t->wait_for(sub {
        return ask($key)->header('RateLimit-Policy') eq "\"rps\";$text";
    }, $what);
}

# two plans of one org

my $big = $d->key(plan_id => 3);
my $sister = $d->key(plan_id => 3);
my $small = $d->key(plan_id => 4);

is(admitted($big, 60), 50, 'the deep bucket');
is(admitted($sister, 5), 0, 'is shared by keys of the plan in the org');
is(admitted($d->key(plan_id => 3, org_id => 6), 1), 1, 'not by another org');
is(admitted($small, 1), 1, 'the shallow bucket of another plan is its own');
ask($small) for 1 .. 5;
is(admitted($big, 20), 0, 'and gave the deep one nothing back');
like(ask($big)->header('RateLimit'), qr/^"rps";r=0;t=\d+$/, 'of any unit');

# a key that goes to another plan and back

my $mover = $d->key(plan_id => 5);

is(admitted($mover, 60), 50, 'the bucket of a key');
$d->change($mover, plan_id => 6);
policy_is($mover, 'q=2;w=1', 'another plan for the key');
$t->wait_for(sub { ask($mover)->status != 429 }, 'its bucket');
$d->change($mover, plan_id => 5);
policy_is($mover, 'q=100;w=86400', 'the first plan again');
is(admitted($mover, 20), 0, 'the first bucket is as empty as it was');

# a policy that becomes shallow: who is refused writes nothing

my $fixed = $d->key(plan_id => 7);

is(admitted($fixed, 60), 50, 'a deep policy');
$d->plan(7, 'moving', { name => 'rps', %hour, scope => 'org' });
policy_is($fixed, 'q=1;w=3600', 'a shallow one instead');
is(admitted($fixed, 10), 0, 'the change filled no bucket');
like(ask($fixed)->header('RateLimit'), qr/^"rps";r=0;t=3(600|5\d\d)$/,
     'which has its unit when the new rate gives it');
$d->plan(7, 'moving', { name => 'rps', %day, scope => 'org' });
policy_is($fixed, 'q=100;w=86400', 'the deep one again');
is(admitted($fixed, 20), 0, 'nobody was given what was refused');

# and one that is soon there again

$d->plan(7, 'moving', { name => 'rps', %second, scope => 'org' });
$t->wait_for(sub { ask($fixed)->status != 429 }, 'a fast one holds at once');

done_testing();
