#!/usr/bin/perl

# cost: numbers, what is none, what does not fit; and what is logged of it.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$d->plan(3, 'pro', { name => 'rps', quota => 10, window => 86400,
                     burst => 10 });

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;

        location /cost {
            usher_limit cost rate=10r/d key=$arg_key cost=$arg_cost;
        }

        location /plan {
            usher_auth on;
            usher_limit plan cost=$arg_cost;
        }
    }
CONF

$t->write_file("edge1/html/$_", 'content') for qw(cost plan);

sub left { $t->get("/cost?$_[0]")->header('RateLimit') }

is(left('key=a&cost=4'), '"cost";r=6', 'a cost');
is(left('key=a&cost=0'), '"cost";r=6', '0 looks');
is(left('key=b&cost=1'), '"cost";r=9', 'another key, another bucket');
is(left('cost=11'), undef, 'an empty key is not limited');

# what is no number is 1

my $secret = Usher::Key::text();

is(left('key=a&cost=x'), '"cost";r=5', 'a word');
is(left('key=a&cost='), '"cost";r=4', 'nothing');
is(left('key=a'), '"cost";r=3', 'no argument');
is(left('key=a&cost=-5'), '"cost";r=2', 'less than nothing');
is(left("key=a&cost=$secret"), '"cost";r=1', 'anything');

my $log = $t->error_log;

is(scalar(() = $log =~ /\[info\].* cost of limit "cost" is no number/g), 5,
   'each of them is logged, at info');
unlike($log, qr/\[(?:warn|error)\].*cost/, 'not above');
unlike($log, qr/usher: the cost [^,]*(?:-5|\Q$secret\E)/, 'and not the text of it');

# more than there is room for, at once or ever

for (11, 4611686018427387904, 9223372036854775807, '9223372036854775808',
     '18446744073709551617', '9' x 40)
{
    my $r = $t->get("/cost?key=c&cost=$_");

    is($r->status, 429, "$_: more than the burst");
    is($r->header('Retry-After'), undef, 'cannot be retried');
    like($r->json->{detail}, qr/more than the limit ever allows/,
         'which it says');
}

is(left('key=c&cost=1'), '"cost";r=9', 'and took nothing');

# of a plan

my @key = ('X-API-Key' => $d->key(plan_id => 3));

$t->wait_for(sub { $t->get('/plan?cost=0', @key)->status == 200 },
             'the key is known');
is($t->get('/plan?cost=7', @key)->header('RateLimit'), '"rps";r=3',
   'the cost of a plan');
is($t->get('/plan?cost=' . '9' x 40, @key)->status, 429, 'does not fit');
is($t->get('/plan?cost=x', @key)->header('RateLimit'), '"rps";r=2',
   'is no number');
like($t->error_log, qr/cost of limit "plan" is no number/, 'and logged');

done_testing();
