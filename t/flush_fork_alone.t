# A fork whose edge does not tell how far both agree.  It is dead: then it is
# waited for, however long that takes, and no line is lost or there twice when
# it comes back.  Or its disk has no more of it: then the lines decide that it
# has.  usherd's clock runs fast.

use lib 't/lib';
use Usher::Test;
use Usher::Clock;
use Usher::Drain;
use Usher::Slot;


my $t = Usher::Test->new;

plan(skip_all => 'its library does not go with a sanitizer') if $t->san;

$t->postgres;
$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=8m segment=64k window=1m sync=10ms retain=1s',
    server => 'location = /r { usher_auth optional; usher_event on;
                               return 200 "x"; }'),
    test_module => 1);


sub line_below { my ($s, $p) = @_; 1 + rindex $s->{bytes}, "\n", $p - 1 }


# Its acknowledgement's nonces, up to a condition.

sub nonces {
    my ($slot, $name, $until) = @_;
    my %seen;

    $t->wait_for(sub { my @ack = $slot->ack; $seen{$ack[1] // ''} = 1;
                       $until->(scalar keys %seen, @ack) }, $name, 30);

    return scalar keys %seen;
}

# an edge dies; an older state of its machine was stored, and of its own lines
# only the last ones are in Redis

$t->get('/r') for 1 .. 30;

my $id;

$t->wait_for(sub { ($id) = Usher::Drain->new($t)->known }, 'registered');
$t->wait_for(sub { $t->redis_cli('xlen', "usher:ev:$id") > 0 }, 'shipped');

my @pids = $t->workers;

$t->kill9('master');
kill 'KILL', @pids;

my $segment = $t->slurp("$t->{dir}/edge1/journal/$id/00000001.seg");
my @lines = (split /^/, substr $segment, 4096)[0 .. 29];
my $mine = Usher::Slot->new($t, id => $id);
my $other = Usher::Slot->new($t, id => $id);

$mine->append(@lines);
$other->append(@lines[0 .. 19], $other->requests(5))->takeup(0);

{
    local $ENV{LD_PRELOAD} = faster($t, 20);
    $t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });
}

$t->wait_for(sub { $other->stored }, 'the other history is stored', 20);
$mine->takeup(line_below($mine, $other->position));
nonces($mine, 'it is asked ten times, for a minute', sub { $_[0] > 10 });
is($mine->state, 'live', 'and nothing is guessed');

# it comes back

$t->start('nginx');
$t->wait_for(sub { $mine->state eq 'forked' }, 'forked', 30);
is(($mine->ack)[0], length join('', @lines[0 .. 19]), 'common to the line');
$t->wait_for(sub { $t->sql('select count(*) from usher.request') >= 35 },
             'the rest comes in another slot', 30);
$t->wait_for(sub { !grep { $_ eq $id } Usher::Drain->new($t)->known },
             'which is then all of it', 30);
is_deeply([ $t->rows('select count(*), count(distinct request_id)
                      from usher.request') ], [ [ 35, 35 ] ], 'each event once');
$t->stop('nginx');

# freed: what would tell is a hole, however often it is asked for

my $slot = Usher::Slot->new($t);
my @at;

for (1 .. 2) {
    $slot->append($slot->requests(20))->ship;
    $t->wait_for(sub { $slot->stored }, 'stored');
    push @at, $slot->end;
}

my $copy = Usher::Slot->new($t, id => $slot->id);

$copy->append((split /^/, $slot->{bytes})[0 .. 11], $copy->requests(60));

my $from = 1 + index $copy->{bytes}, "\n", $at[0];
my $last = '';

$copy->takeup(line_below($copy, $at[1]));

my $asked = nonces($copy, 'freed: forked', sub {
    my ($n, $position, $nonce, $state) = @_;

    if ($state eq 'r' && $nonce ne $last) {
        $last = $nonce;
        $copy->redis->multi;
        $copy->redis->del($copy->key);
        $copy->hole($position, $from, 'freed') if $position < $from;
        $copy->redis->xadd($copy->key, $copy->entry(from => $from));
        $copy->redis->exec;
    }

    return $state eq 'f';
});

cmp_ok($asked, '<', 8, 'after some questions');
is(($copy->ack)[0], $at[0], 'at the last mark below what there is');
is($slot->once, '', 'nothing of the other history was stored');

done_testing();
