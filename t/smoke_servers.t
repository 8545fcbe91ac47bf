# The harness itself: servers come, die and come back.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
is($t->sql('select 6 * 7'), 42, 'PostgreSQL answers');
ok($t->sql("select to_regclass('usher.request')"), 'and has the schema');
is_deeply([ $t->rows('select 1, 2 union all select 3, 4 order by 1') ],
          [ [ 1, 2 ], [ 3, 4 ] ], 'rows');

$t->redis;
$t->redis_cli('set', 'a', 'b c');
is($t->redis_cli('get a'), 'b c', 'Redis answers');

$t->stop_redis;
isnt($t->redis_cli('ping'), 'PONG', 'Redis is gone');
$t->start_redis;
is($t->redis_cli('get a'), '', 'and came back empty');

$t->nginx('server { listen 127.0.0.1:%%PORT%%; location / { return 204; } }',
          workers => 2);
is($t->get('/')->status, 204, 'nginx answers');
like($t->get('/'), qr/^HTTP.1.1 204/, 'a response is its text');

my @old = $t->workers;
is(scalar @old, 2, 'two workers');

my $killed = $t->kill9('worker');
$t->wait_for(sub { my @now = $t->workers;
                   @now == 2 && !grep { $_ == $killed } @now },
             'a killed worker is replaced');

ok($t->reload, 'reload');
is($t->get('/')->status, 204, 'nginx answers after a reload');

$t->kill9('master');
my @left = $t->workers;
ok(@left, 'workers outlive their master');
$t->start('nginx');
is($t->get('/')->status, 204, 'a new master serves');
ok(!grep({ my $pid = $_; grep { $_ == $pid } @left } $t->workers),
   'with new workers');

$t->nginx('server { listen 127.0.0.1:%%PORT%%; return 200 %%NODE%%; }',
          name => 'edge2');
is($t->on('edge2')->get('/')->body, 'edge2', 'a second node');
is($t->get('/')->status, 204, 'is not the first');

my ($code, $said) = $t->nginx_test('bad;');
ok($code && $said =~ /unknown directive "bad"/, 'nginx -t fails');

if ($< == 0) {
    my $uid = (stat '/proc/' . $t->pid('postgres'))[4];
    isnt($uid, 0, 'servers do not run as root');
}

done_testing();
