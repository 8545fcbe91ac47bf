
# An answer that was on its way while its record changed is not kept.
#
# Worker A has asked Redis, Redis has answered with the old record, A has not
# read it yet; then the key is revoked and worker B, which reads the changes,
# learns of it; then A goes on.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use Time::HiRes qw(sleep time);


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
my @keys = map { key_new($t) } 1 .. 6;

edge($t, workers => 2, http => 'add_header X-Pid $pid always;');
$t->wait_for(sub { status($t, $keys[0]) == 200 }, 'admitted');
shift @keys;

my ($a, $b) = $t->workers;
my $on = connections($t, $keys[-1], 2);


sub on { return head_on($on->{$_[0]}, $_[1]) }


for my $key (@keys[0 .. 3]) {

    # who hangs loses the lease: now B reads the changes

    kill 'STOP', $a;
    sleep 0.2;
    kill 'CONT', $a;
    sleep 0.1;

    $t->signal('redis', 'STOP');
    head_send($on->{$a}, $key);
    sleep 0.02;
    kill 'STOP', $a;
    $t->signal('redis', 'CONT');

    $t->sql('update usher.key set revoked_at = now() where id = ?',
            $key->{id});
    $t->wait_for(sub { on($b, $key) == 401 }, 'B knows that it is revoked');
    kill 'CONT', $a;

    my ($status) = head_answer($on->{$a});
    note "A answered $status";

    my @after = map { sleep 0.02; (on($a, $key), on($b, $key)) } 1 .. 10;
    is((grep { $_ != 401 } @after), 0, 'revoked it stays') or diag "@after";
}

done_testing();
