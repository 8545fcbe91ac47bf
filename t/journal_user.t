#!/usr/bin/perl

# A master that is root's with workers of another user, as distributions start
# nginx: what the master makes the workers can use, over everything.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

plan(skip_all => 'the master has to be root, and this test is not')
    if $< != 0;

my $t = Usher::Test->new;
my $uid = getpwnam('nobody');
my $tries = 1;

$t->postgres;
$t->redis;
$t->usherd(conf => { usherd => { batch_age_ms => 20 } });
$t->ctl('org create name=acme');

# nobody but root may read the password, or make a directory

my $user = edge_user($t);
chmod 0600, $t->dir . '/edge.password';
mkdir $t->dir . "/var-$_" for 'edge1', 'edge2';
mkdir $t->dir . '/var-edge2/journal';

my $conf = <<"CONF";
    usher_zone 1m;
    usher_redis %%REDIS%% $user;
    usher_journal %%DIR%%/../var-%%NODE%%/journal size=4m segment=64k sync=20ms
                  retain=1s;
    usher_request_id \$http_x_id;

    server {
        listen 127.0.0.1:%%PORT%%;
        location / {
            usher_auth on;
            usher_limit few rate=3r/d key=\$arg_k;
        }
    }
CONF

my %how = (as_root => 1, main => 'user nobody nogroup;');


sub uid_of { return (stat $_[0])[4] }
sub journal { return $t->dir . "/var-$_[0]/journal" }
sub slots { return glob journal('edge1') . '/*/' }

sub got {
    my ($key, $id, $k) = @_;

    return $t->get('/small' . ($k ? "?k=$k" : ''), 'X-API-Key' => $key->{key},
                   'X-Id' => $id)->status;
}

sub row {
    return scalar $t->sql('select count(*) from usher.request
                           where request_id = ?', $_[0]);
}

my ($code, $text) = $t->nginx_test($conf, %how, name => 'edge1');
is($code, 0, 'nginx -t, by root');
ok(!-e journal('edge1'), 'makes nothing');

$t->nginx($conf, %how);
$t->write_file('edge1/html/small', 'x');

my $key = key_new($t);

is(uid_of(journal('edge1')), $uid, 'the journal is the workers\'');
is((stat journal('edge1'))[2] & 07777, 0700, 'and nobody else\'s');
is(uid_of('/proc/' . $t->pid('master')), 0, 'the master is root');
$t->wait_for(sub { got($key, 'try-' . $tries++) == 200 }, 'a key is admitted');
is(got($key, 'first'), 200, 'and again');

my ($worker) = $t->workers;

is(uid_of("/proc/$worker"), $uid, 'its worker is not');
$t->wait_for(sub { row('first') }, 'and a row', 20);
is(join(' ', map { uid_of($_) } glob journal('edge1') . '/*'), $uid,
   'slots are the worker\'s');

is(join(' ', map { got($key, "few-$_", 'a') } 1 .. 4), '200 200 200 429',
   'a bucket');

# a worker is killed while Redis is away: adopted by the next

$t->stop('redis');
is(got($key, "away-$_"), 200, 'known, Redis away') for 1 .. 5;

my ($old) = slots();

$t->kill9('worker');
$t->wait_for(sub { my ($now) = $t->workers; $now && $now != $worker },
             'another worker');
is(got($key, 'next', 'a'), 429, 'which has the zone');
$t->start('redis');
$t->redis_cli('acl', 'setuser', 'edge', 'on', '>geheim', '~*', '+@all');
$t->wait_for(sub { 5 == grep { row("away-$_") } 1 .. 5 },
             'what the killed one wrote is there', 30);
like($t->error_log, qr/slot \w+ adopted/, 'adopted');
$t->wait_for(sub { !-d $old }, 'and removed', 30);

# reload

ok($t->reload, 'reload');
is(uid_of('/proc/' . ($t->workers)[0]), $uid, 'the new worker is not root');
is(got($key, 'again'), 200, 'the key is known yet');
is(got($key, 'bucket', 'a'), 429, 'its bucket is as it was');
$t->wait_for(sub { row('again') && row('bucket') }, 'rows', 20);
is(join(' ', grep { defined && $_ != $uid } map { uid_of($_) } slots()), '',
   'slots are the worker\'s');

# one that is there already, and is root's

$t->nginx($conf, %how, name => 'edge2');
$t->write_file('edge2/html/small', 'x');
is(uid_of(journal('edge2')), $uid, 'a journal of root\'s is handed over');

my $edge2 = $t->on('edge2');
$t->wait_for(sub { $edge2->get('/small', 'X-API-Key' => $key->{key},
                               'X-Id' => 'try-' . $tries++)->status == 200 },
             'admitted');
$edge2->get('/small', 'X-API-Key' => $key->{key}, 'X-Id' => 'second');
$t->wait_for(sub { row('second') }, 'and a row', 20);

is(join(' ', map { "@$_" } $t->rows('select request_id from usher.request
                                     group by request_id
                                     having count(*) > 1')), '',
   'no row twice');
is($t->sql('select count(*) from usher.journal_gap'), 0, 'no gap');

done_testing();
