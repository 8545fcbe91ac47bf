#!/usr/bin/perl

# While nothing moves the edge looks at the stream ever more rarely, and never
# less often than each half minute: so it finds a Redis that was wiped, however
# long usherd was away.  Its clock runs fast.

use lib 't/lib';
use Usher::Test;
use Usher::Clock;
use Usher::Drain;
use List::Util qw(max sum0);

my $t = Usher::Test->new;

plan(skip_all => 'its library does not go with a sanitizer') if $t->san;

my $d = Usher::Drain->new($t);

$t->redis(args => [qw(--slowlog-log-slower-than 0 --slowlog-max-len 10000)]);

{
    local $ENV{LD_PRELOAD} = faster($t, 10);
    $t->nginx(Usher::Drain->conf(server => '', journal =>
        'size=8m segment=64k retain=1h window=1m sync=off'), test_module => 1);
}

my @lines = $d->feed(10, 500);

$t->wait_for(sub { $d->known }, 'a slot');

my ($id) = $d->known;


# The acknowledgement is read each second: how often between two looks at the
# stream, and since the last one.

sub seconds {
    my @seconds = 0;

    for (reverse @{ $d->redis->slowlog('get', 10_000) }) {
        my ($word, @more) = @{ $_->[3] };

        if ($word eq 'XINFO') {
            push @seconds, 0;

        } elsif ($word eq 'GET' && $more[0] eq "usher:ack:$id") {
            $seconds[-1]++;
        }
    }

    return @seconds;
}


# usherd is away

my @seconds;

$t->wait_for(sub { @seconds = seconds(); pop @seconds;
                   3 <= grep { $_ >= 12 } @seconds },
             'the stream is looked at ever more rarely', 60);

note "@seconds";
cmp_ok(max(@seconds), '<=', 40, 'and once in half a minute');
cmp_ok(scalar @seconds, '<', sum0(@seconds) / 4, 'less often than each second');

# wiped meanwhile

$t->redis_cli('flushall');
$t->wait_for(sub { $d->redis->exists("usher:ev:$id") },
             'after FLUSHALL it is found out', 30);

# it moves again: then a look is due soon

ok($d->drain(sub { $d->lines == @lines }), 'all of it comes');
$t->wait_for(sub { $d->redis->xlen("usher:ev:$id") == 0 }, 'acknowledged');
$d->redis->slowlog('reset');
push @lines, $d->feed(10, 500);
$t->wait_for(sub { seconds() > 1 }, 'the stream is looked at again');
cmp_ok((seconds())[0], '<', 12, 'soon, once it has moved');
ok($d->drain(sub { $d->lines == @lines }), 'and the rest');
is($d->exactly(@lines), '', 'each line once');

done_testing();
