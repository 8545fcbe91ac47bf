#!/usr/bin/perl

# A large body is parts, then the event that closes them, of one slot with
# nothing between: wherever a worker dies, an event that is there has all its
# parts, and one that was answered is there.  What can never fit is refused
# before its first part.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use IO::Select;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);

$SIG{PIPE} = 'IGNORE';

$t->redis;
$t->nginx(Usher::Drain->conf(
    journal => 'size=32m segment=64k window=8m sync=10ms retain=0',
    server => 'location = /hook { usher_test_hook acme; }'),
    test_module => 1, workers => 2);


# Each id has a body of its own, of 10 KB to 100 KB: up to four segments.

sub body {
    my ($id) = @_;
    my ($n) = $id =~ /(\d+)$/;

    return substr "$id-" x 10_000, 0, 10_000 + $n * 104_729 % 90_000;
}


sub send_hook {
    my ($id) = @_;

    my $s = $t->connect;
    my $body = body($id);

    $s->autoflush(1);
    print $s "POST /hook?id=$id HTTP/1.1\r\nHost: localhost\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body";

    return $s;
}


# 0: its worker died

sub status {
    my ($s) = @_;

    return 0 if !IO::Select->new($s)->can_read(10);
    sysread $s, my $text, 65536;
    return ($text // '') =~ m{^HTTP/1.1 (\d+)} ? $1 : 0;
}


# Of each event in the streams, whether what is just before it are the parts of
# its body.

sub judge {
    my (%whole, @bad);

    for my $slot ($d->slots) {
        my @parts;

        for my $line (split /\n/, $d->slot($slot)->{bytes}) {
            my @f = split /\t/, $line;

            if ($f[0] eq 'p1') {
                @parts = () if $f[2] == 1;
                push @parts, \@f;
                next;
            }

            if ($f[0] eq 'h1') {
                my @n = map { "$_->[1] $_->[2]/$_->[3]" } @parts;
                my $id = $f[2];
                my $text = join '', map { pack 'H*', $_->[4] =~ s/^\\\\x//r }
                           @parts;

                push @bad, "$id: @n" if $text ne body($id) || $f[7] != @parts
                    || "@n" ne join ' ', map { "$id $_/$f[7]" } 1 .. $f[7];
                $whole{$id}++;
            }

            @parts = ();
        }
    }

    return \%whole, @bad;
}


# Three are on their way when a worker dies.

my %sent;

for my $round (11 .. 30) {
    my %socket = map { ("hook-$round$_" => send_hook("hook-$round$_")) } 1 .. 3;

    sleep rand 0.006;
    kill 'KILL', $t->workers;
    $sent{$_} = status($socket{$_}) for keys %socket;
    eval { $d->pull; $d->ack };
}

my @done = sort grep { $sent{$_} == 204 } keys %sent;

note scalar(@done), " of ", scalar keys %sent;
cmp_ok(scalar @done, '>', 0, 'some were answered');
cmp_ok(scalar(grep { $_ == 0 } values %sent), '>', 0, 'some were not');
ok($d->drain(sub { my ($whole) = judge(); !grep { !$whole->{$_} } @done }, 30),
   'what was answered is there');

my ($whole, @bad) = judge();

is("@bad", '', 'each with all its parts and nothing else');
is(join(' ', grep { $whole->{$_} != 1 } keys %$whole), '', 'once');
is_deeply([ $d->faults ], [], 'no rule of the stream is broken');

# a disk that is slow refuses some, but none for its length

my $n = 0;

$t->wait_for(sub { $n++; status(send_hook("long$n-1002")) == 204 },
             'one over several segments');

# more than the journal could ever hold

is($t->post('/hook?id=huge', 'x' x 17_000_000)->status, 503, 'it cannot fit');
is(status(send_hook('after-1')), 204, 'the next one does');
ok($d->drain(sub { (judge())[0]{'after-1'} }), 'and is there');
is(scalar(grep { /^p1\thuge\t/ } $d->lines), 0, 'of the other not a part');

done_testing();
