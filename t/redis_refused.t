# Redis answers, but refuses what the stream needs: that is said once and
# counted, the node shows it, and when it is over events go on as if nothing
# had been.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush');
my $user = edge_user($t);
$t->nginx(<<"EOF2", workers => 1);
    usher_zone 2m;
    usher_redis %%REDIS%% $user;
    usher_journal %%DIR%%/journal size=4m segment=256k;
    server {
        listen 127.0.0.1:%%PORT%%;
        location / { usher_limit all rate=1000r/s key=x; root %%DIR%%; }
        location = /status { usher_status; }
        location = /metrics { usher_metrics; }
    }
EOF2
$t->write_file('edge1/file', 'hello');

my $rows = 0;

sub said { scalar(() = $t->error_log =~ /\(stream\) $_[0]/g) }
sub state_of { $t->get('/status')->json->{workers}[0]{redis}{stream} }
sub fetch { $rows++ if $t->get('/file')->status == 200 }

sub metric {
    return ($t->get('/metrics')->body =~ /^usher_\Q$_[0]\E (\d+)$/m)[0];
}

sub workers { metric(qq(redis_workers{role="stream",state="$_[0]"})) }

# the id of the last event in the stream

sub streamed {
    my ($stream) = $t->redis_cli('keys', 'usher:ev:*');

    return '' if !$stream;
    return ($t->redis_cli('xinfo', 'stream', $stream)
                =~ /^last-generated-id\n(.*)$/m)[0];
}

sub stored {
    $t->wait_for(sub { $rows == $t->sql('select count(*) from usher.request') },
                 $_[0], 30);
}

fetch();
stored('a row');
is(state_of(), 'ready', 'ready');

# what is asked on a connection, and what only repeats; a reset connection
# has each asked again

for my $command (qw(xinfo hset get)) {
    my ($name, $errors) = (uc $command, metric('redis_errors_total'));

    $t->redis_cli('acl', 'setuser', 'edge', "-$command");
    $t->redis_cli('client', 'kill', 'user', 'edge');
    fetch();
    $t->wait_for(sub { said("refuses $name, .*NOPERM.*redis-users.conf") },
                 "$name is refused: said");
    is(state_of(), 'refused', 'not ready');
    is(workers('refused') . workers('ready') . workers('down'), '100',
       'nor in the metrics');
    cmp_ok(metric('redis_errors_total'), '>', $errors, 'counted');
    $t->wait_for(sub {
        $t->redis_cli('info commandstats')
            =~ /_$command(?:\|\w+)?:.*rejected_calls=(?:[2-9]|\d\d)/
    }, 'and tried again', 30);

    $t->redis_cli('acl', 'setuser', 'edge', "+$command");
    $t->wait_for(sub { said("takes $name again") }, 'allowed: said', 30);
    is(state_of(), 'ready', 'ready');
    is(said("refuses $name"), 1, 'each said once');
    stored('and the row is there');
}

# what entries need, alone and where the stream is taken up again: it is gone
# when the edge, connected anew, asks how far it is

for my $command (qw(xadd multi del)) {
    my $name = uc $command;

    if ($command ne 'xadd') {
        $t->signal('flush', 'STOP');

        my $before = streamed();

        fetch();
        $t->wait_for(sub { streamed() ne $before },
                     'in the stream, in no row');
    }

    $t->redis_cli('acl', 'setuser', 'edge', "-$command");
    $t->redis_cli('flushall');
    $t->redis_cli('client', 'kill', 'user', 'edge');
    fetch();
    $t->wait_for(sub { said("refuses $name, .*NOPERM") },
                 "$name is refused: said", 30);
    $t->wait_for(sub { state_of() eq 'refused' }, 'not ready');
    $t->redis_cli('acl', 'setuser', 'edge', "+$command");
    $t->wait_for(sub { state_of() eq 'ready' }, 'allowed: ready', 30);
    is(said("takes $name again"), said("refuses $name"), 'said');
    $t->signal('flush', 'CONT');
    stored('each event is a row, once');
}

is(said('refuses EXEC'), 0, 'what follows from it is not said');

done_testing();
