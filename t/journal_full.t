#!/usr/bin/perl

# A full journal: dropped or denied and counted, said once, and over when
# there is room: size reached and acknowledged again, a full disk, a directory
# that is missing or not writable, retained segments used before their time.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $hook = 'location = /hook { usher_test_hook acme; }
            location = /status { usher_status; usher_event off; }';


sub said { my ($re) = @_; scalar(() = $t->error_log =~ /$re/g) }
sub denied { $t->get('/status')->json->{counters}{journal_denied} }

# size: usherd is away

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=256k segment=64k window=64k sync=10ms retain=1h',
    server => $hook), test_module => 1);

my @lines;

for (1 .. 60) {
    my @new = $d->feed(10, 1000) or last;
    push @lines, @new;
    sleep 0.02;
}

cmp_ok(scalar @lines, '>=', 180, 'filled up to its size');
cmp_ok(scalar @lines, '<=', 260, 'and no more');
is($t->post('/line', "r1\n" x 2000)->status, 503, 'a line is refused');
is($t->post('/hook?id=a', 'x' x 8000)->status, 503, 'a hook is denied');

my $denied = denied();

is($t->post('/hook?id=p', 'x' x 20_000)->status, 503, 'as is one in parts');
is(denied() - $denied, 1, 'and counted');
is(said(qr/is full: its size is reached/), 1, 'said once');

ok($d->drain(sub { $d->lines >= @lines }), 'all that was taken arrives');
$t->wait_for(sub { $t->post('/hook?id=b', 'x' x 8000)->status == 204 },
             'over when it is acknowledged', 15);
is(said(qr/has room again/), 1, 'and said so');

for (1 .. 60) {
    my @new = $d->feed(10, 1000) or last;
    push @lines, @new;
    sleep 0.02;
}

is(said(qr/is full: its size is reached/), 2, 'as when it is full again');

# retain is an hour, but size comes first

my ($dir) = $d->dirs;
my ($over, $long) = (0, 0);

for (1 .. 100) {
    push @lines, $d->feed(10, 1000);
    $d->pull;
    $d->ack;
    sleep 0.04;

    # one more is seen while one gets another name

    my @files = glob "$t->{dir}/edge1/journal/$dir/*.seg";
    $over = @files > 4 ? $over + 1 : 0;
    $long = $over if $long < $over;
}

ok($d->drain(sub { (grep { length > 990 && /x$/ } $d->lines) >= @lines }),
   'retained segments are used again');
cmp_ok($long, '<', 5, 'and size is kept');
$t->stop('nginx');

# the directory is missing, then unwritable

$t->nginx(Usher::Drain->conf(path => '%%DIR%%/none/journal', server => $hook,
                             journal => 'size=1m segment=64k'),
          name => 'edge2', test_module => 1);

my $two = $t->on('edge2');

is($two->post('/hook?id=c', 'x')->status, 503, 'no directory: denied');
ok($two->workers, 'but nginx runs');
like($two->error_log, qr/\[crit\].*journal/, 'and says why');

mkdir "$t->{dir}/edge2/none";
mkdir "$t->{dir}/edge2/none/journal";
chown $t->{uid}, -1, "$t->{dir}/edge2/none/journal" if $> == 0;
$t->wait_for(sub { $two->post('/hook?id=d', 'x')->status == 204 },
             'it is there: accepted');
$t->stop('edge2');

SKIP: {
    skip 'not root: no tmpfs can be mounted', 6 if $> != 0;

    my $disk = "$t->{dir}/disk";

    mkdir $disk;
    skip 'no tmpfs can be mounted here', 6
        if system("mount -t tmpfs -o size=320k,mode=0777 none $disk 2>&1");

    $t->nginx(Usher::Drain->conf(path => "$disk/journal", server => $hook,
                                 journal => 'size=1m segment=64k window=64k '
                                            . 'retain=0'),
              name => 'edge3', test_module => 1);

    my $three = $t->on('edge3');
    my $d3 = Usher::Drain->new($three);
    my @in;

    for (1 .. 60) {
        my @new = $d3->feed(10, 1000) or last;
        push @in, @new;
        sleep 0.02;
    }

    cmp_ok(scalar @in, '>', 120, 'taken until the disk is full');
    cmp_ok(scalar @in, '<', 330, 'and no more');
    ok($three->workers, 'no worker died of it');
    like($three->error_log, qr/is full: a segment cannot be made \(28/,
         'the reason is said');

    my $ok = 0;

    for (1 .. 200) {
        $d3->pull;
        $d3->ack;
        my @new = $d3->feed(10, 1000);
        push @in, @new;
        last if @new && ++$ok == 20;
        sleep 0.05;
    }

    is($ok, 20, 'goes on when it is acknowledged');
    my %seen = map { $_ => 1 } @in;
    ok($d3->drain(sub { @in <= grep { $seen{$_} } $d3->lines }),
       'and all that was taken arrives');

    $t->stop('edge3');
    system("umount $disk");
}

done_testing();
