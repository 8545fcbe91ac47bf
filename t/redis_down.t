# The client of Redis: a server that is not there at the start, restarts,
# hangs, refuses the password; nginx answers meanwhile and says each once.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;
my $dir = $t->dir;

sub state {
    my ($role) = @_;

    return join(' ', map { $_->{redis}{$role} }
                     @{ $t->get('/status')->json->{workers} });
}

sub becomes {
    my ($state, $name) = @_;

    $t->wait_for(sub { state('directory') eq $state }, $name, 15);
}

sub said {
    my ($what) = @_;

    my @lines = $t->error_log =~ /redis "[^"]+" \(directory\) $what/g;

    return scalar(@lines);
}

open(my $fh, '>', "$dir/password") or die;
print $fh "geheim\n";
close($fh);

# it is not there

$t->redis;
$t->stop('redis');
$t->nginx(<<"EOF");
    usher_zone 1m;
    usher_redis %%REDIS%% password_file=$dir/password;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /status { usher_status; }
    }
EOF

becomes('down', 'nginx starts without Redis');

# it is there, but it has no password: AUTH is refused

$t->start('redis');
$t->wait_for(sub { said('is not available: ERR .*AUTH') == 1 },
             'the reason of a refusal is said', 15);
is(state('directory'), 'down', 'a server that refuses is not ready');

# another password, then the right one

$t->redis_cli('config', 'set', 'requirepass', 'other');
becomes('down', 'a wrong password is not ready');
$t->redis_cli('-a', 'other', 'config', 'set', 'requirepass', 'geheim');
becomes('ready', 'the right password is');
is(said('is ready'), 1, 'which is said once');

# it is killed and comes back (without a password again: it was not kept)

$t->kill9('redis');
becomes('down', 'killed: down');
$t->start('redis');
$t->redis_cli('config', 'set', 'requirepass', 'geheim');
becomes('ready', 'back: ready');

# it hangs: what waits for an answer gives up, nginx goes on

$t->signal('redis', 'STOP');
becomes('down', 'stopped: down');
is($t->get('/status')->status, 200, 'nginx answers');
$t->signal('redis', 'CONT');
becomes('ready', 'going on: ready');

# idle connections are closed when a worker ends, and counted when lost

cmp_ok($t->get('/status')->json->{counters}{redis_errors}, '>=', 3,
       'losses are counted');
ok($t->reload, 'reload');
becomes('ready', 'the new worker is ready');
unlike($t->error_log, qr/geheim/, 'the password is not in the log');

done_testing();
