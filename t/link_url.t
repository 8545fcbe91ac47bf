# The parser of URLs beside that of a browser (the WHATWG's, in Node): what it
# takes has the same host there, since that is where a redirect goes.

use lib 't/lib';
use Usher::Test;

use Socket qw(AF_INET6 inet_pton);


plan(skip_all => 'no node to ask: util/install ci installs it')
    if system('node --version > /dev/null 2>&1') != 0;

my $t = Usher::Test->new;

my $seed = $ENV{USHER_SEED} // time;
note("USHER_SEED=$seed");
srand $seed;

my @scheme = ('http://', 'https://', 'HTTPS://', 'hTTp://');
my @label = ('a', 'example', 'evil', 'shop-1', 'xn--bcher-kva', 'xn--a',
             'xn--example', 'xn--11b4d3a', 'A-Z', 'x' x 63, '3com', 'com', '1',
             '127', '010', '255', '256', '4294967295', '0x7f', '0x', '0xg');
my @address = ('127.0.0.1', '10.1.2.255', '[::1]', '[2001:DB8::7]', '0.0.0.0',
               '[::ffff:1.2.3.4]', '[0:0:1:0:0:0:0:1]', '[1::2::3]', '1.2.3');
my @port = ('', '', ':80', ':443', ':8080', ':65535', ':1', ':0', ':');
my @rest = ('', '/', '/a/../b', '//evil.example', '/%2e%2E/%00', '/.', '/..',
            '/a;b=c@d:e', '/[1]^|!$&()*+,=~', '?', '#', '?a=b', '?a=b&', '?a?',
            '?/@', '?%41%0d%0a', '#f', '#/?@', '?a[]=1|2', '/?x#', '/a//b/');
my @trick = ('\\', '@', ':', "\t", "\n", ' ', '%', '%00', '%2e', '..', '.',
             '-', '_', '/', '?', '#', '//', '[', ']', "\0", "\xe3\x80\x82",
             "\xef\xbc\x8f", '"', "'", '<', '{', 'javascript:', 'https:', '0',
             '*', ',', "\xff", "\x7f", "\xc2\xad");
my @byte = ('a' .. 'z', map { chr } 0 .. 127);


sub any { return $_[rand @_] }

sub url {
    my $url = any(@scheme)
        . (rand() < 0.2 ? any(@address)
                        : join '.', map { any(@label) } 1 .. 1 + rand 4)
        . (rand() < 0.1 ? '.' : '') . any(@port) . any(@rest) . any(@rest);

    return $url if rand() < 0.5;

    # a trick put in, a piece taken out, or one byte another

    my $at = int rand length $url;
    my $way = int rand 3;

    substr $url, $at, 0, any(@trick) if $way == 0;
    substr $url, $at, 1 + rand 3, '' if $way == 1;
    substr $url, $at, 1, chr int rand 256 if $way == 2;

    return $url;
}


my @in = map { { url => url(),
                 value => join '', map { any(@byte) } 1 .. rand 20 } }
             1 .. 20_000;

$t->write_file('in', join '', map { pack('LL', length $_->{url},
                                         length $_->{value})
                                    . $_->{url} . $_->{value} } @in);
my @out = `$t->{build}/split < $t->{dir}/in`;

is($?, 0, 'the filter ran');
is(scalar @out, scalar @in, 'an answer each');

my @taken;

for my $n (0 .. $#out) {
    my ($status, @parts) = split /\t/, $out[$n] =~ s/\n\z//r, -1;

    push @taken, { %{ $in[$n] }, host => $parts[0], port => $parts[1],
                   query => $parts[2], fragment => $parts[3],
                   added => $parts[4] } if $status eq 'ok';
}

cmp_ok(scalar @taken, '>', 2000, 'many are taken');

$t->write_file('ask', join '', map { "$_->{url} $_->{added}\n" } @taken);
$t->write_file('ask.js', <<'JS');
const lines = require('fs').readFileSync(0, 'latin1').split('\n');

for (const line of lines.slice(0, -1)) {
    try {
        const [url, added] = line.split(' ').map(text => new URL(text));
        const port = url.port || (url.protocol === 'https:' ? 443 : 80);
        const value = added.searchParams.getAll('u').pop();

        console.log([url.hostname, port, url.search, url.hash,
                     added.hostname, added.hash, value].map(
            field => Buffer.from('' + field).toString('hex')).join(' '));

    } catch (error) {
        console.log('refused');
    }
}
JS

my @said = `node $t->{dir}/ask.js < $t->{dir}/ask`;
is($?, 0, 'node ran');
is(scalar @said, scalar @taken, 'and answered each');

my %bad = map { $_ => 0 } qw(refused host port query fragment added value);

sub bad {
    my ($what, $in, $said) = @_;

    diag("$what: $in->{url}: $said") unless $bad{$what}++;
}

# an address of version 6 may be written in many ways

sub host {
    my ($name) = @_;

    return $name =~ /^\[(.*)\]$/ ? inet_pton(AF_INET6, $1) // $name : lc $name;
}

for my $n (0 .. $#said) {
    my $in = $taken[$n];

    if ($said[$n] eq "refused\n") {
        bad('refused', $in, 'is no URL') if $in->{host} !~ /\bxn--/i;
        next;
    }

    my ($host, $port, $query, $fragment, $added, $kept, $value)
        = map { pack 'H*', $_ } split / /, $said[$n] =~ s/\n\z//r, -1;

    bad('host', $in, $host) if host($in->{host}) ne host($host);
    bad('port', $in, $port) if $in->{port} ne $port;
    bad('query', $in, $query) if $in->{query} ne $query =~ s/^\?//r;
    bad('fragment', $in, $fragment)
        if $in->{fragment} ne $fragment =~ s/^#//r;
    bad('added', $in, $added) if $added ne $host || $kept ne $fragment;
    bad('value', $in, $value) if $in->{value} ne $value;
}

is($bad{refused}, 0, 'a browser refuses only names that do not decode');
is($bad{host}, 0, 'the same host');
is($bad{port}, 0, 'the same port');
is($bad{query}, 0, 'the same query');
is($bad{fragment}, 0, 'the same fragment');
is($bad{added}, 0, 'and with a parameter added');
is($bad{value}, 0, 'of which the value is what was added');

diag("USHER_SEED=$seed") unless Test::More->builder->is_passing;
done_testing();
