
# More misses in one turn of the worker than address and node may have: all of
# them are asked, a good key among them is admitted at once, and who is told
# of abnormal usage is the one whose usage it is.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;
use Usher::Key;
use Usher::Burst;


my $t = Usher::Test->new;

$t->redis;
my $d = Usher::Key->new($t);
my @good = map { $d->key } 1 .. 48;

$t->nginx(<<'END', workers => 1);
usher_zone   16m;
usher_redis  %%REDIS%%;
usher_auth_failures off;
server {
    listen 127.0.0.1:%%PORT%%;
    listen 127.0.0.1:%%PORT_2%% http2;
    location / {
        usher_auth on;
        usher_event off;
        root %%DIR%%;
    }
    location = /usher/status {
        usher_event off;
        usher_status;
    }
}
END
$t->write_file('edge1/file', 'hello');
$t->wait_for(sub { status($t, { key => $good[0] }) == 200 }, 'the edge knows');
my $port = $t->port('edge1_2');


# So many keys that do not exist, of which the code may change some.

sub unknown { return map { Usher::Key::text() } 1 .. $_[0] }

sub seen {
    my %seen;

    $seen{$_}++ for @_;

    return \%seen;
}

sub stopped {
    my ($burst, @keys) = @_;

    $t->signal('worker', 'STOP');

    return $burst->send(sub { $t->signal('worker', 'CONT') }, @keys);
}


# Redis runs: 128 * 10 misses, of which an address may have 200 at once.  On a
# busy machine all may come too late for their 50 ms: then once more.

my ($burst, @first);
my @at = map { $_ * 26 + 25 } 1 .. 47;

for (1 .. 5) {
    my @keys = unknown(1280);

    @keys[@at] = @good[1 .. 47];
    $burst = Usher::Burst->new($port, 10);
    @first = stopped($burst, @keys);

    last if grep { $_ == 200 } @first[@at];
}

is((grep { $_ == 429 } @first), 0, 'none is refused');
cmp_ok((grep { $_ == 200 } @first[@at]), '>', 0, 'good ones are admitted');
note explain seen(@first[@at]), seen(@first);

# Redis hangs, and there are more than there are places: theirs is the blame

$burst = Usher::Burst->new($port, 52);
$t->signal('redis', 'STOP');
my $seen = seen(stopped($burst, unknown(52 * 128)));
$t->signal('redis', 'CONT');

is_deeply([ sort keys %$seen ], [ 429, 503 ], 'some find no place');
cmp_ok(counter($t, 'directory_refused'), '>', 0, 'which is counted');
cmp_ok($seen->{503}, '>=', 6144, 'three quarters of the places are theirs');
note explain $seen;

# many addresses, none beyond its own budget, but all of them beyond the node's

$burst = Usher::Burst->new($port, 200, sub { '127.0.1.' . $_ });
$t->signal('redis', 'STOP');
$seen = seen(stopped($burst, unknown(200 * 128)));
$t->signal('redis', 'CONT');

is_deeply($seen, { 503 => 200 * 128 }, 'no address is blamed for the others');

done_testing();
