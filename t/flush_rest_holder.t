#!/usr/bin/perl

# What a flush asked of Redis arrives late, when another has its slot: it is
# done whole, and only if what it was judged by is still so.

use lib 't/lib';
use Usher::Test;
use Usher::Proxy;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;

my $proxy = Usher::Proxy->new($t, 'redis.sock');
my %conf = (
    usherd => { batch_age_ms => 20, lease_s => 2 },
    redis => { address => $proxy->address },
);

my $slot = Usher::Slot->new($t);
my @names = ('usherd', 'usherd2');

sub rest  { $slot->redis->exists("usher:rest:$slot->{id}") }
sub set   { join ' ', $slot->redis->smembers('usher:rest') }
sub evals { $t->redis_cli('info commandstats') =~ /^cmdstat_eval:calls=(\d+)/m
            ? $1 : 0 }
sub owner { $t->sql('select owner from usher.lease where name = ? and owner
                     <> \'\' and until > now()', "slot:$slot->{id}") // '' }

# One flush has the slot; what it asks for by such a command when something
# happens is held, and it sees no more of it.

sub held {
    my ($what, $command, $happens) = @_;

    $proxy->hold("$command.*$slot->{id}");
    $happens->();
    $t->wait_for(sub { $proxy->held }, "held: $what", 20);

    my $owner = owner();

    $t->signal('flush', 'STOP');
    push @names, shift @names;
    $t->usherd(name => $names[0], duties => 'flush', conf => \%conf);
    $t->wait_for(sub { owner() ne '' && owner() ne $owner },
                 'another has the slot', 20);
}

sub released {
    my ($what) = @_;
    my $n = evals();

    $proxy->release;
    $t->wait_for(sub { evals() > $n }, "released: $what", 20);
    $t->kill9($names[1]);
}

# Lines that nobody sends, and a stream that goes on above them; they come.

my $from;

sub gap {
    $from = $slot->end;
    $slot->append($slot->requests(3));
    $slot->{shipped} = $slot->end;
    $slot->append($slot->requests(1))->ship;
}

sub resent {
    $slot->takeup($from);
    $t->wait_for(sub { $slot->stored }, 'it is sent');
}

$t->usherd(name => $names[0], duties => 'flush', conf => \%conf);
$slot->append($slot->requests(3))->ship;
$t->wait_for(sub { $slot->stored }, 'a beginning');

# put aside, late: by its name

held('put aside', 'RENAMENX', \&gap);
released('put aside');
$t->wait_for(sub { rest() && set() eq $slot->id }, 'put aside, and known');

# gone, late: not what was put aside since

held('the rest goes', 'SREM', \&resent);
$t->wait_for(sub { !rest() && set() eq '' }, 'another saw to it');
gap();
$t->wait_for(sub { rest() }, 'put aside', 20);
released('the rest goes');
is(set(), $slot->id, 'known');
ok(rest(), 'and there');

# put aside, late: not what was sent since

resent();
$t->wait_for(sub { !rest() }, 'the rest goes');
held('put aside', 'RENAMENX', \&gap);
resent();
$t->signal('flush', 'STOP');
$slot->append($slot->requests(2))->ship;
released('put aside');
is($slot->redis->xlen($slot->key), 1, 'a good stream stays');
$t->signal('flush', 'CONT');
$t->wait_for(sub { $slot->stored }, 'and is stored');
is($slot->once, '', 'each event is one row');

done_testing();
