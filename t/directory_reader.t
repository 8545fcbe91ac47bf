
# One worker reads the changes; when it dies another does, and where changes
# are missing all records are asked for again.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');
my @keys = map { key_new($t) } 1 .. 12;

edge($t, workers => 3, http => 'add_header X-Pid $pid always;');
$t->wait_for(sub { status($t, $keys[0]) == 200 }, 'admitted');


sub revoked {
    my ($key, $what) = @_;

    $t->wait_for(sub { status($t, $key) == 200 }, "$what: admitted");
    $t->sql('update usher.key set revoked_at = now() where id = ?',
            $key->{id});
    $t->wait_for(sub { status($t, $key) == 401 }, "$what: revoked");
}


# whichever worker reads, it dies once

revoked(shift @keys, 'before');

for my $pid ($t->workers) {
    kill 'KILL', $pid;
    revoked(shift @keys, 'a worker was killed');
}

# one that hangs is deposed; when it goes on it does no harm

# (the kernel may give a new connection to whoever hangs: we keep ours)

my $on = connections($t, $keys[-1], 3);
my @pids = keys %$on;

for my $pid (@pids) {
    my ($other) = grep { $_ != $pid } @pids;
    my $key = shift @keys;

    $t->wait_for(sub { head_on($on->{$other}, $key) == 200 }, 'admitted');
    kill 'STOP', $pid;
    $t->sql('update usher.key set revoked_at = now() where id = ?',
            $key->{id});
    $t->wait_for(sub { head_on($on->{$other}, $key) == 401 },
                 'a worker hangs: revoked');
    kill 'CONT', $pid;
    $t->wait_for(sub { head_on($on->{$pid}, $key) == 401 },
                 'it goes on: revoked');
}

revoked(shift @keys, 'workers had hung');

# new and old workers of a reload

$t->reload;
revoked(shift @keys, 'reload');

# a record that changed in silence: a gap in the ids uncovers it

my $key = shift @keys;
my $id = 'key:' . $t->sql("select encode(digest, 'hex') from usher.key
                           where id = ?", $key->{id});
$t->wait_for(sub { status($t, $key) == 200 }, 'admitted');
my $text = $t->redis_cli('get', "usher:d:$id");
$text =~ s/"state": "active"/"state": "revoked"/ or die "no state: $text";
$t->redis_cli('set', "usher:d:$id", $text);
is(status($t, $key), 200, 'nobody knows');

my ($last) = (changes($t))[-1]->[0];
$t->redis_cli('xadd', 'usher:changes', ($last + 3) . '-0', 'l', lineage($t),
              'k', 'key', 'n', 1);
$t->wait_for(sub { status($t, $key) == 401 }, 'after a gap it is asked again');
like($t->error_log, qr/changes @{[$last + 1]} to @{[$last + 2]} .* missing/,
     'and said');

# the same for a new lineage

$key = shift @keys;
$t->wait_for(sub { status($t, $key) == 200 }, 'admitted');
$t->db->do('set session_replication_role = replica');
$t->sql('update usher.key set revoked_at = now() where id = ?', $key->{id});
$t->db->do('set session_replication_role = origin');
is(status($t, $key), 200, 'an update that no trigger saw');
$t->redis_cli('flushall');
$t->wait_for(sub { status($t, $key) == 401 },
             'Redis was wiped: every record is asked for again');

done_testing();
