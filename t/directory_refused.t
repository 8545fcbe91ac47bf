#!/usr/bin/perl

# usherd may not ask for the state of usher:changes: that is said, and is no
# reason to delete it.  When it may, what waited is told to the edges.

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
$t->ctl('org create name=acme');

my ($key, $other) = map { key_new($t) } 1 .. 2;

edge($t);
$t->wait_for(sub { status($t, $key) == 200 }, 'known');
$t->ctl("key revoke key=$other->{id} reason=test");
$t->wait_for(sub { status($t, $other) == 401 }, 'a revocation');

my @changes = $t->redis_cli('xrange usher:changes - +');

$t->redis_cli('acl', 'setuser', 'usherd', '-xinfo|stream');
$t->ctl("key revoke key=$key->{id} reason=test");
$t->wait_for(sub { $t->log_of('usherd') =~ /refused a script/ }, 'said');
is_deeply([ $t->redis_cli('xrange usher:changes - +') ], \@changes,
          'the changes are there');
sleep 3;
ok(record_is($t, 'key:' . $t->sql("select encode(digest, 'hex') from usher.key
                                   where id = ?", $key->{id}),
             'state', 'active'), 'nothing is half told');

$t->redis_cli('acl', 'setuser', 'usherd', '+xinfo|stream');
$t->wait_for(sub { status($t, $key) == 401 }, 'allowed: revoked', 20);

my @after = $t->redis_cli('xrange usher:changes - +');

is_deeply([ @after[0 .. $#changes] ], \@changes, 'none was lost');
unlike($t->log_of('usherd'), qr/was deleted or set back/, 'and no number');

# heartbeats need it as well: one script or two, as they come, each said once,
# whatever the seconds

my $said = () = $t->log_of('usherd') =~ /refused a script/g;

cmp_ok($said, '<=', 2, 'said once');
$t->wait_for(sub {
    $said == (() = $t->log_of('usherd') =~ /takes that script/g)
}, 'as is its end');

done_testing();
