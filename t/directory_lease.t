# The lease of the directory is named by Redis's run_id, and by nothing else:
# a usherd that may not ask for it writes nothing, beside one that may.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
customers($t);
$t->write_file('password', "geheim\n");
$t->redis_cli('acl', 'setuser', 'second', 'on', '>geheim', '~*', '+@all',
              '-info');
key_make($t, 'one');
$t->usherd(duties => 'directory');
$t->wait_for(sub { record_is($t, key_id('one'), 'state', 'active') },
             'written');

sub leases { scalar $t->sql("select count(*) from usher.lease
                             where name like 'directory:%' and owner <> ''") }

sub said { scalar(() = $t->log_of('second') =~ /$_[0]/g) }

sub writer {
    return $t->metrics('second') =~ /^usherd_directory_writer\{.*\} (\d)$/m
           && $1;
}

# another name of the same Redis, and a user without INFO

symlink "$t->{dir}/redis.sock", "$t->{dir}/other.sock";
$t->usherd(name => 'second', duties => 'directory', conf => { redis => {
    address => "unix:$t->{dir}/other.sock", user => 'second',
    password_file => "$t->{dir}/password" } });
$t->wait_for(sub { said('does not say its run_id.*allow INFO.*NOPERM') },
             'INFO is refused: said');
$t->kill9('usherd');
$t->wait_for(sub {
    $t->redis_cli('info commandstats') =~ /_info:.*rejected_calls=([3-9])/
}, 'and asked for again', 20);
is(leases(), 1, 'no other lease is taken');
is(writer(), 0, 'it is no writer');
is(said('run_id'), 1, 'said once');

# it may ask: the same lease, when that is free

$t->redis_cli('acl', 'setuser', 'second', '+info');
$t->wait_for(sub { said('says its run_id again') }, 'allowed: said');
$t->wait_for(sub { writer() }, 'it writes', 20);
is(leases(), 1, 'by the same lease');
key_make($t, 'two');
$t->wait_for(sub { record_is($t, key_id('two'), 'state', 'active') },
             'written');

# the one who writes may not ask any more, when it meets Redis again

$t->redis_cli('acl', 'setuser', 'second', '-info');
$t->redis_cli('client', 'kill', 'user', 'second');
$t->wait_for(sub { said('does not say its run_id') == 2 }, 'refused again');
$t->wait_for(sub { !writer() }, 'it is no writer');
key_make($t, 'three');
$t->redis_cli('acl', 'setuser', 'second', '+info');
$t->wait_for(sub { record_is($t, key_id('three'), 'state', 'active') },
             'until it may');

done_testing();
