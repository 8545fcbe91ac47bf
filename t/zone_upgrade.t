#!/usr/bin/perl

# A binary upgrade (USR2): the new nginx has a zone of its own, with new
# buckets, while the old one goes on in its own until it is told to quit.

use lib 't/lib';
use Usher::Test;
use Usher::Test::Process qw(spawn sleep_until);

my $t = Usher::Test->new;
my $pidfile = $t->dir . '/edge1/nginx.pid';

# a new nginx has of the environment what is named here

$t->nginx(<<'CONF', nogo => 1, main => 'env LD_PRELOAD; env ASAN_OPTIONS;');
    usher_zone 1m;
    server {
        listen 127.0.0.1:%%PORT%%;
        location / {
            usher_limit each rate=3r/d key=$arg_who;
        }
    }
CONF

# nginx takes an upgrade from a daemon only, which here becomes our child

my $conf = $t->slurp($t->dir . '/edge1/nginx.conf');

$t->write_file('edge1/nginx.conf', $conf =~ s/daemon off/daemon on/r);
$t->server('edge1', 'TERM', sub {
    waitpid(spawn(cmd => [ $t->nginx_cmd('edge1') ], dir => $t->dir . '/edge1',
                  out => $t->dir . '/edge1/out.log', env => $t->nginx_env), 0);

    # it writes its pid when the one that was started has gone

    sleep_until(sub { $t->slurp($pidfile) =~ /^\d+\n/ }, 10);
    return $t->slurp($pidfile) + 0 || die "no pid of nginx\n";
});

$t->wait_for(sub { $t->workers }, 'nginx');

sub admitted {
    my ($who) = @_;
    return scalar grep { $t->get("/?who=$who")->status != 429 } 1 .. 6;
}

my $old = $t->pid('nginx');
my ($old_worker) = $t->workers;

is(admitted('a'), 3, 'a bucket');
is(admitted('a'), 0, 'is empty');

$t->signal('master', 'USR2');
$t->wait_for(sub { -e "$pidfile.oldbin" && $t->slurp($pidfile) =~ /^\d/
                   && $t->slurp($pidfile) != $old }, 'a new nginx', 20);

my $new = $t->slurp($pidfile) + 0 or BAIL_OUT('no pid of the new nginx');

kill 'WINCH', $old;
$t->wait_for(sub { !kill 0, $old_worker }, 'the old workers have gone', 20);
is(admitted('a'), 3, 'its bucket is new');
is(admitted('a'), 0, 'and is empty as well');

# back to the old one: it starts workers again, and knows what it knew

kill 'HUP', $old;
$t->wait_for(sub { $t->workers }, 'workers of the old one', 20);
kill 'QUIT', $new;
$t->wait_for(sub { !kill 0, $new }, 'the new one has gone', 20);
is(admitted('a'), 0, 'the old zone is as it was');
is(admitted('b'), 3, 'and in use');

done_testing();
