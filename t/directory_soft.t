
# A record that was changed, and nothing was taken away: the new one is asked
# for, heartbeat or not; the old one serves only while Redis does not answer,
# and until stale has passed since the change.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;
use Usher::Key;

use IO::Socket::INET;
use Time::HiRes qw(sleep);


my $t = Usher::Test->new;

$t->redis;
my $d = Usher::Key->new($t);
my @keys = map { { key => $d->key } } 1 .. 9;

edge($t, workers => 1, user => edge_user($t), auth => 'scope=read',
     http => 'usher_stale key 6s;');


# A sign of life each 100 ms, in a process of its own; which it returns.

sub usherd {
    my $test = $$;
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        for ($d->{beats} = 1000; getppid == $test; sleep 0.1) { $d->beat }
        kill 'KILL', $$;
    }

    return $pid;
}

sub applied { return $t->get('/usher/status')->json->{directory}{change} }


# Gives them a scope, which edges are told softly, and waits until they know.

sub soft {
    for my $key (@_) {
        $d->change($key->{key}, soft => 1, scope => 'read');
    }
    $t->wait_for(sub { applied() == $d->{change} }, 'the change is applied');
}


# What the keys are answered, asked in one go on one connection.

sub answers {
    my $c = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $t->port('edge1'))
        or die "connect: $!\n";

    head_send($c, $_) for @_;

    return join ' ', map { (head_answer($c))[0] } @_;
}


my $beats = usherd();

$t->wait_for(sub { $t->get('/usher/status')->json->{directory}
                     ->{heartbeat_age_ms} < 2000 }, 'a sign of life');
is(answers(@keys), join(' ', (403) x 9), 'all are known, none has the scope');

# Redis hangs right after the change: what was known serves, though the
# generation is older than stale; and one wait is enough to know that it hangs

sleep 7;
soft(@keys[0 .. 3]);
my $suspends = counter($t, 'directory_suspends');

$t->signal('redis', 'STOP');
is(answers(@keys[0 .. 3]), '403 403 403 403', 'Redis hangs: the old serves');
is(counter($t, 'directory_suspends'), $suspends + 1, 'after one wait for all');
$t->signal('redis', 'CONT');
$t->wait_for(sub { answers(@keys[0 .. 3]) eq '200 200 200 200' },
             'Redis answers: the new serves');

# Redis answers, but not for these records: stale counts from the change

sub allow { $t->redis_cli('acl', 'setuser', 'edge', 'resetkeys', @_) }

allow('~usher:changes', '~usher:heartbeat', '~usher:d:ready');
soft($keys[4]);
is(answers(@keys[4, 0]), '403 200', 'it cannot be asked for: the old serves');
$t->wait_for(sub { answers($keys[4]) eq '503' }, 'until stale has passed');
is(answers($keys[0]), '200', 'what did not change serves on');

# or from when the generation rose

$d->{change} += 3;
$d->announce('key', '0' x 64);
$t->wait_for(sub { applied() == $d->{change} }, 'changes are missing');
is(answers($keys[0]), '200', 'all are outdated: the old serves');
$t->wait_for(sub { answers($keys[0]) eq '503' }, 'until stale has passed');
allow('~*');
$t->wait_for(sub { answers(@keys[0, 4, 5]) eq '200 200 403' }, 'the new');

# without heartbeat, while Redis answers

kill 'KILL', $beats;
waitpid $beats, 0;
$t->wait_for(sub { $t->error_log =~ /no sign of life of usherd/ },
             'usherd is dead');
soft(@keys[5, 6]);
is(answers(@keys[5, 6]), '200 200', 'Redis has the new one: it is asked');

done_testing();
