#!/usr/bin/perl

# PostgreSQL is set back to before a fork: what both histories have is sent
# again from the forked slot, what lies above it from the new ones; whatever
# process holds them by then.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);
my $dir = "$t->{dir}/edge1/journal";


sub conf {
    return Usher::Drain->conf(server => '', journal =>
        "size=8m segment=64k window=1m sync=50ms retain=$_[0]");
}


sub cut { $t->error_log =~ /forked slot $_[0] had above $_[1] is in others/ }

# PostgreSQL knows nothing of a fork, and has the lines up to there.

sub restored {
    my ($id, $position) = @_;

    delete $d->slot($id)->{$_} for qw(state ended);
    $d->ack(slot => $id, at => $position);
}

$t->redis;
$t->nginx(conf('1h'), test_module => 1);

my @lines = map { my @l = $d->feed(50, 500); sleep 0.02; @l } 1 .. 16;

ok($d->drain(sub { $d->lines == 800 }), 'stored');

my ($id) = $d->slots;
my $fork = 160_000;                    # within a segment, and within a batch

$d->ack(slot => $id, at => $fork, state => 'f');
ok($d->drain(sub { $d->lines == 800 && cut($id, $fork) }, 20),
   'what was above is in others');
is($d->exactly(@lines), '', 'each line once');
is(scalar(() = glob "$dir/$id/*.seg"), 4, 'moved segments are gone')
    or diag join ' ', glob "$dir/$id/*.seg";
ok(!$d->redis->exists("usher:ev:$id"), 'and the stream');

# set back to before the fork

restored($id, 20_000);
ok($d->drain(sub { $d->lines == 800 && $d->slot($id)->{ended} }, 20),
   'set back: what both have is sent again');
is($d->slot($id)->{position}, $fork, 'to the line');
is($d->exactly(@lines), '', 'each line once');

# the same after a restart, and everything from its beginning

$t->restart('nginx');
$t->wait_for(sub { $t->error_log =~ /slot $id adopted, it ends at $fork/ },
             'adopted, up to the fork');
restored($_, 0) for $d->slots;
ok($d->drain(sub { $d->lines == 800 && $d->slot($id)->{ended} }, 20),
   'after a restart, from all slots');
is($d->exactly(@lines), '', 'each line once');
is(scalar @{ $d->slot($_)->{holes} }, 0, 'no hole') for $d->slots;

# a later fork below the first

$d->ack(slot => $id, at => 70_000, state => 'f');
ok($d->drain(sub { $d->lines == 800 && cut($id, 70_000) }, 20),
   'forked once more, further down');
is($d->exactly(@lines), '', 'each line once');

# past retain it goes, and its keys

$t->nginx_conf(conf('1s'), test_module => 1);
ok($t->reload, 'retain is a second');
ok($d->drain(sub { !-e "$dir/$id" }, 30), 'past retain the forked one goes');
$t->wait_for(sub { !grep { $_ eq $id } $d->known }, 'and is not announced');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

done_testing();
