#!/usr/bin/perl

# From a file that the disk has damaged to PostgreSQL: what its seal covers is
# a row of usher.journal_gap, and every other event is a row, once.

use lib 't/lib';
use Usher::Test;
use Usher::Segment;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });
$t->stop('redis');
$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=4m segment=64k sync=10ms;
    usher_request_id $http_x_id;

    server {
        listen 127.0.0.1:%%PORT%%;
        usher_auth optional;
        location / { return 204; }
    }
CONF

my @ids = map { "damage-$_" } 1000 .. 1599;

$t->get('/', 'X-Id' => $_) for @ids;

my ($dir) = glob "$t->{dir}/edge1/journal/*/";
my ($slot) = $dir =~ m{([^/]+)/$};


# [ position, line ] of all that lies in the files

sub lines {
    my ($at, @found) = (0);

    for my $file (used($dir)) {
        my ($text) = substr($t->slurp($file), 4096) =~ /^((?:r1[^\n\0]*\n)*)/;

        for (split /^/, $text) {
            push @found, [ $at, $_ ];
            $at += length;
        }
    }

    return @found;
}

sub end { my $last = (lines())[-1]; $last->[0] + length $last->[1] }

$t->wait_for(sub { sealed((used($dir))[-1]) == end() }, 'all of it is sealed');

my @lines = lines();
is(scalar @lines, scalar @ids, 'each request is a line on disk');
cmp_ok(scalar used($dir), '>=', 2, 'in several files');

my @workers = $t->workers;
$t->kill9('master');
kill 'KILL', @workers;
$t->wait_for(sub { !$t->workers }, 'all are dead');

# one byte of one line

my ($file) = used($dir);
my $bad = 'damage-1050';
my $place = index $t->slurp($file), $bad;

cmp_ok($place, '>', 4096, 'in the first file');
patch($file, $place, 'D');

$t->start('redis');
$t->start('nginx');

my @gap;

$t->wait_for(sub {
    @gap = $t->rows('select slot, from_position, to_position, reason
                     from usher.journal_gap');
    @gap && $t->sql("select position from usher.journal where slot = ?",
                    $slot) == end();
}, 'the slot is stored to its end', 30);

is(scalar @gap, 1, 'one gap');
my ($of, $from, $to, $reason) = @{ $gap[0] };
is($of =~ tr/-//dr, $slot, 'of this slot');
is($reason, 'corrupt', 'for the reason');

my @lost = grep { $_->[0] >= $from && $_->[0] < $to } @lines;
my ($hit) = grep { $_->[1] =~ /\Q$bad\E/ } @lines;

ok($from <= $hit->[0] && $to >= $hit->[0] + length $hit->[1],
   'the damaged line is in it');
cmp_ok(scalar @lost, '<', @lines / 2, 'and no more than its seal');
is($to - $from, length(join '', map { $_->[1] } @lost), 'whole lines');

my %lost = map { $_->[1] =~ /(damage-\d+)/; ($1 => 1) } @lost;

is_deeply([ map { @$_ } $t->rows("select request_id from usher.request
                                  where request_id like 'damage-%'
                                  order by request_id") ],
          [ grep { !$lost{$_} } @ids ], 'every other event is a row, once');
is($t->sql('select count(*) from usher.quarantine'), 0, 'nothing is poison');

my $verify = $t->ctl('journal verify');
ok(!$verify->{ok}, 'journal verify says that something is lost');
like(join(' ', @{ $verify->{problems} // [] }), qr/gap/, 'and what');

done_testing();
