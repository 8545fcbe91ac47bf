# The Redis users of conf/redis-users.conf, as it is printed: with their rights
# the whole job is done and nothing is refused, and each right is made use of.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;
use Usher::Slot;

my $t = Usher::Test->new;
my $conf = $t->slurp($t->top . '/conf/redis-users.conf');
my (%password, %rights);

while ($conf =~ /^user (\S+) on >(\S+) (.+)$/mg) {
    $password{$1} = $2;
    $rights{$1} = [ grep { s/^\+(?!@)// } split ' ', $3 ];
    $t->write_file("$1.password", "$2\n");
}

is(join(' ', sort keys %password), 'default usher-edge usherd', 'users');

$ENV{REDISCLI_AUTH} = $password{default};
$t->redis(args => [ '--include', $t->write_file('users.conf', $conf) ]);
is($t->redis_cli('acl whoami'), 'default', 'the operator');

$t->postgres;
$t->usherd(conf => { redis => {
    user => 'usherd', password_file => "$t->{dir}/usherd.password" } });
$t->ctl('org create name=acme');
$t->ctl('domain add host=localhost org=acme');
$t->ctl('link add host=localhost slug=cap url=https://x.example/ cap=1000');
my ($key, $gone, $late) = map { key_new($t) } 1 .. 3;

$t->nginx(<<"EOF2", workers => 1);
    usher_zone 2m;
    usher_redis %%REDIS%% user=usher-edge
                password_file=$t->{dir}/usher-edge.password;
    usher_journal %%DIR%%/journal size=4m segment=256k retain=1s;
    server {
        listen 127.0.0.1:%%PORT%%;
        location / { usher_auth on; root %%DIR%%; }
        location /go/ { usher_link none; }
        location /cap/ { usher_link cap; }
        location = /status { usher_status; }
    }
EOF2
$t->write_file('edge1/file', 'hello');

my $rows = 0;

sub rows_are {
    my ($name) = @_;

    $t->wait_for(sub { $rows == $t->sql('select count(*) from usher.request
                                         where status = 200') }, $name, 30);
}

sub fetch {
    my $code = status($t, $_[0]);

    $rows += $code == 200;

    return $code;
}

sub becomes {
    my ($k, $code, $name) = @_;

    $t->wait_for(sub { fetch($k) == $code }, $name);
}


# a keyed request is a row; a revocation is heard of

becomes($key, 200, 'admitted');
rows_are('and a row');
becomes($gone, 200, 'another key');
$t->ctl("key revoke key=$gone->{id} reason=test");
becomes($gone, 401, 'revoked');

$t->wait_for(sub {
    $t->get('/status')->json->{directory}{salt} eq 'common';
}, 'the salt of the day');

$t->wait_for(sub {
    $t->get('/cap/', 'User-Agent' => 'Mozilla/5.0 (x)');
    my ($cap) = $t->redis_cli('keys usher:cap:*');
    $cap && $t->redis_cli("hvals $cap");
}, 'a cap is told');

# its stream is deleted, and then an entry out of the midst of it

my ($slot) = $t->redis_cli('hkeys usher:slots');

my $stream = "usher:ev:$slot";

$t->signal('flush', 'STOP');
fetch($key);
$t->wait_for(sub { $t->redis_cli("xlen $stream") }, 'in the stream');
$t->redis_cli("del $stream");
$t->wait_for(sub { $t->redis_cli("xlen $stream") }, 'taken up');

for my $n (2, 3) {
    fetch($key);
    $t->wait_for(sub { $t->redis_cli("xlen $stream") == $n }, "$n entries");
}

my @ids = grep { /^\d+-0$/ } $t->redis_cli("xrange $stream - +");

$t->redis_cli("xdel $stream $ids[1]");
$t->signal('flush', 'CONT');
rows_are('each is a row');
like($t->error_log, qr/slot $slot is sent again from/, 'after a rewind');

# a record that cannot be read, scripts that are forgotten, a new lineage

my $id = 'usher:d:key:' . $t->sql("select encode(digest, 'hex')
                                   from usher.key where id = ?", $late->{id});
$t->redis_cli("set $id nonsense");
becomes($late, 200, 'a record is written again');
$t->redis_cli('script flush');
$t->ctl("key revoke key=$late->{id} reason=test");
becomes($late, 401, 'scripts are sent again');
$t->redis_cli('del usher:d:ready');
$t->wait_for(sub { $t->redis_cli('get usher:d:ready') }, 'a new lineage');

# a slot is adopted, and cleared away

$t->kill9('worker');
becomes($key, 200, 'a new worker');
$t->wait_for(sub { $t->redis_cli('hkeys usher:slots') !~ /$slot/ },
             'the slot of the old one is gone', 30);
$t->wait_for(sub {
    $t->redis_cli("exists $stream usher:ack:$slot") eq '0'
},
             'with its keys', 30);
rows_are('each is a row');
is($t->ctl('journal verify')->{ok}, JSON::PP::true(), 'verified');

# what lies above a gap is put aside, and comes back when that is skipped

my $other = Usher::Slot->new($t);

$other->append($other->requests(2, status => 204))->ship;
$t->wait_for(sub { $other->stored }, 'another slot');
$other->append($other->requests(3, status => 204));

my $gap = $other->{shipped} = $other->end;

$other->append($other->requests(1, status => 204))->ship;
$t->wait_for(sub { $t->redis_cli('exists usher:rest') eq '1' }, 'put aside', 20);
$t->ctl("journal skip slot=$other->{id} to=$gap reason=gone");
$t->wait_for(sub { $other->stored }, 'and stored');
$t->wait_for(sub { $t->redis_cli('exists usher:rest') eq '0' }, 'nothing is left');

# no more than was needed, and no less

is($t->redis_cli('acl log'), '', 'nothing was refused');

my %used = $t->redis_cli('info commandstats')
           =~ /^cmdstat_(\S+?):calls=(\d+)/mg;

for my $user (qw(usher-edge usherd)) {
    is(join(' ', grep { !$used{$_} } @{ $rights{$user} }), '',
       "each right of $user is made use of");
}

unlike($conf, qr/^user (?!default).*(?:\s[~%R~W]*~\*|\+@)/m,
       'and no user has all keys, or a class of commands');

done_testing();
