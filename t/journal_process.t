#!/usr/bin/perl

# Which processes have slots: workers and a single process, no helpers; an
# old worker leaves with its own when it is told to; and what any of them left
# is shipped.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $journal = 'size=4m segment=64k window=1m sync=50ms retain=1s';


sub conf {
    return Usher::Drain->conf(journal => $journal,
                              server => 'location = /s { usher_status; }')
           . '    proxy_cache_path %%DIR%%/cache keys_zone=c:1m;';
}


# Processes of a node that have a file of the journal open.

sub holders {
    my ($name) = @_;
    my $dir = "$t->{dir}/$name/journal/";
    my %has;

    for my $fd (glob '/proc/[0-9]*/fd/*') {
        my $file = readlink($fd) // next;
        $has{$1} = 1 if $fd =~ m{^/proc/(\d+)/} && index($file, $dir) == 0;
    }

    return sort { $a <=> $b } keys %has;
}

$t->redis;
$t->nginx(conf(), test_module => 1, workers => 2);

# a cache manager and loader run here, with the same init_process()

my @lines;

push @lines, $d->feed(3) for 1 .. 30;

my %worker = map { $_ => 1 } $t->workers;

sleep 1.5;
ok(!(grep { !$worker{$_} } holders('edge1')), 'only workers have slots');
is_deeply([ grep { !$worker{$_} }
            map { $_->{pid} } @{ $t->get('/s')->json->{workers} } ], [],
          'and figures');

# a reload: the old ones leave, though nobody acknowledges what they wrote

$t->kill9('redis');
push @lines, $d->feed(20, 500) for 1 .. 5;
ok($t->reload, 'reload, Redis is dead');
$t->wait_for(sub { !grep { $worker{$_} } $t->workers },
             'timers hold no old worker back', 20);
$t->start('redis');
ok($d->drain(sub { $d->lines >= @lines }, 20), 'what they left is shipped');
is($d->exactly(@lines), '', 'once');
$t->stop('nginx');

# a single process (which nginx cannot reload: it accepts nothing after that)

$t->nginx(conf(), name => 'edge2', test_module => 1,
          main => 'master_process off;');

my $f = Usher::Drain->new($t->on('edge2'));
my @more;

push @more, $f->feed(10, 300) for 1 .. 3;
is(scalar @more, 30, 'a single process takes lines');
is_deeply([ holders('edge2') ], [ $t->pid('edge2') ], 'into a slot of its own');
$t->kill9('edge2');
$t->start('edge2');
push @more, $f->feed(10, 300);
is(scalar @more, 40, 'killed, and begun anew');

my %want = map { $_ => 1 } @more;
my %seen;

ok($f->drain(sub { 40 <= grep { $want{$_} } $f->lines }, 20),
   'what it left is shipped');
$seen{$_}++ for grep { $want{$_} } $f->lines;
is(scalar(grep { $_ != 1 } values %seen), 0, 'once');

done_testing();
