#!/usr/bin/perl

# Whatever is wrong with the journal's disk, Redis or PostgreSQL (there is none
# here), nginx starts, reloads and serves, says why, and goes on by itself when
# it is over.  A directive that is wrong does fail.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;

my $t = Usher::Test->new;
my $n = 1;
my $server = 'location = /hook { usher_test_hook acme; }
              location = / { usher_auth optional; return 200 "x"; }';


sub conf {
    my (%opt) = @_;

    my $conf = Usher::Drain->conf(server => $server,
        journal => 'size=1m segment=64k sync=10ms', path => $opt{path});

    $conf =~ s/usher_redis \S+;/usher_redis $opt{redis};/ if $opt{redis};

    return $conf;
}


sub hook { $_[0]->post('/hook?id=' . $n++, 'x')->status // 0 }


# Starts with a trouble, and goes on without it.

sub starts {
    my ($what, $said, $over, %opt) = @_;

    my $name = 'edge' . $n++;
    my $path = $opt{path} // "%%DIR%%/journal";

    $t->nginx(conf(%opt, path => $path), name => $name, test_module => 1);

    my $node = $t->on($name);

    is($node->get('/')->status // 0, 200, "$what: nginx serves");
    $t->wait_for(sub { hook($node); $node->error_log =~ $said },
                 "$what: it says why");
    ok($node->reload, "$what: it reloads");
    is($node->get('/')->status // 0, 200, "$what: and serves");
    hook($node);
    unlike($node->error_log, qr/cannot be respawned/, "$what: no worker ended");
    $over->();
    $t->wait_for(sub { hook($node) == 204 }, "$what: over, an event is taken",
                 20);
    $t->stop($name);
}


sub journal { mkdir $_[0] and chown $t->{uid}, -1, $_[0] }

my $top = "$t->{dir}/start";

mkdir $top;
chmod 0755, $top;

# the journal's disk

starts('no directory', qr/\[crit\].*journal.*failed/,
       sub { journal("$top/none"); journal("$top/none/journal") },
       path => "$top/none/journal");

$t->write_file('start/file', '');
starts('a file in its place', qr/\[crit\].*journal.* is full: its directory/,
       sub { unlink "$top/file"; journal("$top/file") }, path => "$top/file");

journal("$top/locked");
chmod 0, "$top/locked";
starts('a locked directory', qr/\[crit\].*journal.* is full: its directory/,
       sub { chmod 0700, "$top/locked" }, path => "$top/locked");

SKIP: {
    my $disk = "$top/disk";

    mkdir $disk;
    skip 'no tmpfs can be mounted', 6
        if $> != 0
           || system("mount -t tmpfs -o size=40k,mode=0777 none $disk 2>&1");

    starts('a full disk', qr/\[crit\].*journal.* is full: a slot cannot be/,
           sub { system("mount -o remount,size=4m $disk") == 0 or die },
           path => "$disk/journal");
    system("umount $disk");
}

# Redis

starts('Redis is not there', qr/redis .*is not available/, sub {},
       redis => '127.0.0.1:1');

$t->redis;
$t->signal('redis', 'STOP');
starts('Redis hangs', qr/redis .*is not available/,
       sub { $t->signal('redis', 'CONT') });

# what is wrong in the configuration is no trouble

my ($code) = $t->nginx_test(conf(path => '/tmp/x') =~ s/sync=10ms/sync=no/r,
                            test_module => 1);
isnt($code, 0, 'a wrong directive fails');

done_testing();
