#!/usr/bin/perl

# The journal with usherd itself: waiting, unique and part events become rows
# once, over a killed worker, a wiped Redis and a PostgreSQL that is set back.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush');
$t->nginx(Usher::Drain->conf(
    journal => 'size=8m segment=256k window=512k sync=10ms retain=2s',
    server => 'location = /hook { usher_test_hook acme; }'),
    test_module => 1, workers => 2);


sub hook { $t->post("/hook?id=$_[0]", $_[1] // 'body')->status }
sub hooks { $t->sql('select count(*) from usher.hook where source = ?',
                    'acme') }

is(hook("h$_"), 204, "hook $_") for 1 .. 5;
$t->wait_for(sub { hooks() == 5 }, 'five rows', 20);

is(hook('h1'), 204, 'the first again');
is(hook('h6'), 204, 'another');
$t->wait_for(sub { hooks() == 6 }, 'a repeated delivery is one row');

my $body = join '', map { chr(($_ * 7) % 256) } 1 .. 150_000;

is(hook('large', $body), 204, 'a large one, in parts');
$t->wait_for(sub { hooks() == 7 }, 'is there');

my ($parts) = $t->sql(
    "select parts from usher.hook where delivery_id = 'large'");

cmp_ok($parts, '>=', 2, 'parts');
is($t->sql("select count(*) from usher.part where id = 'large'"), $parts,
   'and so many');
is($t->sql("select md5(string_agg(data, '' order by n)) from usher.part
            where id = 'large'"),
   do { require Digest::MD5; Digest::MD5::md5_hex($body) }, 'the body');

# kill -9 of a worker with usherd away; Redis wiped

$t->stop('usherd');
is(hook("k$_"), 204, 'answered') for 1 .. 20;
kill 'KILL', $t->workers;
$t->redis_cli('flushall');
$t->wait_for(sub { hook('l0') == 204 }, 'new workers');
$t->start('usherd');
$t->wait_for(sub { hooks() == 28 }, 'all that was answered is a row', 20);
is(hook("l$_"), 204, 'and it goes on') for 1 .. 3;
$t->wait_for(sub { hooks() == 31 }, 'as before', 20);

is($t->sql('select count(*) from usher.journal_gap'), 0, 'no gap');
is($t->sql('select count(*) from usher.quarantine'), 0, 'no quarantine');
$t->wait_for(sub {
    $t->sql("select count(*) from usher.journal where state = 'ended'") >= 1
}, 'slots of killed workers are ended', 20);
$t->wait_for(sub { 2 >= (() = glob "$t->{dir}/edge1/journal/*") },
             'and gone past retain', 30);

done_testing();
