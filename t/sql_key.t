# Keys: the form against an independent checksum, what is stored, rotation.

use lib 't/lib';
use Usher::Test;

use Digest::SHA qw(sha256_hex);


my $t = Usher::Test->new;

$t->postgres;
$t->ctl('org create name=acme');
$t->ctl('plan create name=pro');


# CRC-32 by long division of bit strings, to share nothing with the code: the
# message reflected, its first 32 bits inverted, times x^32, mod the polynomial.

sub crc32 {
    my ($text) = @_;

    my @bits = (split(//, unpack 'b*', $text), (0) x 32);
    my @poly = split //, sprintf '1%032b', 0x04c11db7;

    $bits[$_] = 1 - $bits[$_] for 0 .. 31;

    for my $i (0 .. @bits - 33) {
        next unless $bits[$i];
        $bits[$i + $_] = 0 + ($bits[$i + $_] != $poly[$_]) for 0 .. 32;
    }

    return 0xffffffff ^ oct '0b' . reverse join '', @bits[-32 .. -1];
}


sub base62 {
    my ($n, $digits) = @_;

    my @digit = (0 .. 9, 'A' .. 'Z', 'a' .. 'z');
    my $text = '';

    for (1 .. $digits) {
        $text = $digit[$n % 62] . $text;
        $n = int($n / 62);
    }

    return $text;
}


is(sprintf('%08x', crc32('123456789')), 'cbf43926',
   'the oracle gives the published check value');
is($t->sql("select to_hex(usher.crc32('123456789'))"), 'cbf43926',
   'so does the database');
is($t->sql('select usher.base62(4294967295, 6)'), base62(4294967295, 6),
   'base62, the largest');
is($t->sql('select usher.base62(61, 6)'), '00000z', 'base62, digits');

my (%seen, %digit);

for (1 .. 40) {
    my $env = $_ % 2 ? 'live' : 'test';
    my $key = $t->sql('select usher.key_text($1, $2)', 'acme', $env);

    $seen{$key}++;

    my ($head, $sum) = $key =~ /^(acme_${env}_[0-9A-Za-z]{30})
                                 ([0-9A-Za-z]{6})$/x
        or fail("form of $key");

    $digit{$_}++ for split //, substr $head, 10;

    next if $sum eq base62(crc32($head), 6);
    fail("checksum of $key");
}

is(scalar keys %seen, 40, 'forty keys, all different');
is(scalar keys %digit, 62, 'of all digits');

# what is stored

my $made = $t->ctl('key', 'create', 'org=acme', 'name=first',
                   'scope=write read', 'allow=10.1.2.3/8 ::1');
my $key = $made->{key};

is($t->sql("select encode(digest, 'hex') from usher.key where id = ?",
           $made->{id}), sha256_hex($key), 'the digest is stored');
is($made->{display}, substr(sha256_hex($key), 0, 8), 'and its beginning');
is($made->{allow}, '10.0.0.0/8 ::1/128', 'networks');

my $dump = $t->dir . '/dump.sql';
system("pg_dump -h " . $t->dir . " -U postgres usher > $dump") == 0
    or die "pg_dump failed\n";
my $secret = substr $key, -36;
ok(-s $dump && system('grep', '-q', $secret, $dump) != 0,
   'the key itself is nowhere in the database');

for my $name ($made->{id}, $made->{display}, sha256_hex($key), $key) {
    is($t->ctl('key', 'show', "key=$name")->{id}, $made->{id},
       'found by ' . substr $name, 0, 10);
}

my $said = $t->ctl_fails('key', 'show', "key=${key}x");
like($said, qr/no such key/, 'an unknown key');
unlike($said, qr/$secret/, 'is not repeated in the message');

# rotation

my $next = $t->ctl('key', 'rotate', "key=$made->{id}", 'grace=2h');

isnt($next->{key}, $key, 'a successor');
is($next->{$_}, $made->{$_}, "inherits $_") for qw(org name env scope allow);
is($next->{old}{state}, 'grace', 'the old key is in grace');
is($next->{old}{successor}, $next->{id}, 'and knows it');

my $record = JSON::PP->new->decode(
    $t->sql("select usher.directory_record('key', ?)", sha256_hex($key)));
is($record->{state}, 'active', 'the edge still takes it');
my $left = $record->{exp} - time;
ok($left > 7100 && $left <= 7201, 'for two hours');
is($record->{rot}, 1, 'and knows why it ends');

like($t->ctl_fails("key rotate key=$made->{id}"), qr/has a successor.*id is 2/s,
     'a key is rotated once');
$t->ctl("key rotate key=$next->{id} grace=0");
is($t->ctl("key show key=$next->{id}")->{state}, 'rotated', 'without grace');
is($t->sql("select usher.directory_record('key', ?)->>'state'",
           sha256_hex($next->{key})), 'rotated', 'it is over at once');
ok($t->sql("select (usher.directory_record('key', ?)->>'exp')::bigint
                   <= extract(epoch from clock_timestamp())",
           sha256_hex($next->{key})), 'not at the end of its second');

like($t->ctl_fails("key rotate key=3 grace=-1h"), qr/grace="-01:00:00" cannot/,
     'grace is not negative');

$t->ctl('key update key=3 expires=2026-01-01');
is($t->ctl('key show key=3')->{state}, 'expired', 'an expired key');
like($t->ctl_fails('key rotate key=3'), qr/would have expired/,
     'has no use of a successor');

# the rest of its life

is($t->ctl('key update key=3 expires=2030-01-01')->{expires},
   '2030-01-01T00:00:00+00:00', 'times are UTC');
is($t->ctl('key update key=3 expires=infinity')->{expires}, undef, 'never');
is($t->ctl('key', 'update', 'key=3', 'scope=')->{scope}, '', 'no scope');
is($t->ctl('key update key=3 plan=pro')->{plan}, 'pro', 'a plan of its own');
is($t->ctl('key update key=3 plan=')->{plan}, undef, 'no more');

is($t->ctl('key', 'revoke', 'key=3', 'reason=was in a log')->{state},
   'revoked', 'revoked');
like($t->ctl_fails('key revoke key=3'), qr/revoked already/, 'once');
like($t->ctl_fails('key rotate key=3'), qr/is revoked/, 'and not rotated');

my $digest = sha256_hex('elsewhere');
is($t->ctl("key import org=acme digest=$digest")->{display},
   substr($digest, 0, 8), 'imported by digest');
like($t->ctl_fails("key import org=acme digest=$digest"), qr/there already/,
     'once');

is(scalar @{ $t->ctl('key list org=acme state=active') }, 1, 'lists by state');
is(scalar @{ $t->ctl('key list limit=2') }, 2, 'page by page');
is($t->ctl('key list limit=2 after=2')->[0]{id}, 3, 'going on');

done_testing();
