# The key file: who may read it, where it is looked for, what is said of one
# that cannot be used; and util/keygen, which makes it.

use lib 't/lib';
use Usher::Test;
use Usher::Secret;


my $t = Usher::Test->new;
my $row = 'account//mail';
my $keygen = $t->top . '/util/keygen';
my $dir = $t->dir;

$t->postgres;

my $keys = key_file($t, 'keys');
my @put = call('put', $row, 'value=random:32');


sub refused {
    my ($message, $what) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my ($code, $out, $err) = $t->ctl_run(@put);

    is($code, 2, $what);
    like($err, qr/^usherctl: [^\n]*$message[^\n]*\nhint: [^\n]*key file/,
         '... says why');
}


# who may read it

is((stat $keys)[2] & 0777, 0600, 'util/keygen closes it to others');

for my $mode (0640, 0604, 0620, 0602, 0610) {
    chmod $mode, $keys;
    refused(sprintf('mode %04o: only its owner', $mode),
            sprintf 'mode %04o', $mode);
}

chmod 0600, $keys;

SKIP: {
    skip 'only root gives files away', 3 if $>;

    chown 65534, -1, $keys;
    refused('belongs to user 65534', 'of another user');
    chown 0, -1, $keys;
    is(($t->ctl_run(@put))[0], 0, 'one\'s own is taken');
}

# what is in it

for my $case ([ "x\n", ':1: it does not begin with the id' ],
              [ "# nothing\n", ': there is no key in it' ],
              [ $t->slurp($keys) x 2, ':4: there is a key of this id already' ],
              [ "\n300 " . 'A' x 44, ':2: it does not begin with the id' ],
              [ '1 ' . 'B' x 44, ':1: the key is not 32 bytes' ])
{
    $ENV{USHER_KEY_FILE} = $t->write_file('bad', $case->[0]);
    chmod 0600, "$dir/bad";
    refused($case->[1], 'bad: ' . substr $case->[0] =~ s/\n.*//sr, 0, 10);
    unlike(($t->ctl_run(@put))[2], qr/AAAA|BBBB/, '... and nothing of it');
}

# where it is

is($t->sql('select count(*) from usher.secret'), $> ? 0 : 1, 'nothing was done');
$ENV{USHER_KEY_FILE} = '/nowhere';
refused('cannot read /nowhere: No such file', 'by the environment');
is(($t->ctl_run('--key-file', $keys, @put))[0], 0, 'an option comes first');
delete $ENV{USHER_KEY_FILE};
$ENV{USHERCTL_CONF} = $t->write_file('ctl.conf', "[secrets]\nkey_file = $keys\n");
is(($t->ctl_run(@put))[0], 0, 'then usherctl.conf');
is(($t->ctl_run('--key-file=/nowhere', @put))[0], 2, 'which is the last');
is(($t->ctl_run('--key-file=/nowhere', call('show', $row)))[0], 0,
   'it is read by what needs it only');
delete $ENV{USHERCTL_CONF};

# util/keygen

my $new = key_file($t, 'new', 'keys');
my %key = map { /^(\d+) (\S+)$/mg } $t->slurp($new);

is(scalar keys %key, 2, 'another key');
is($key{id_of($keys)}, ($t->slurp($keys) =~ /^\d+ (\S+)/m)[0], 'keeps the old');
is(id_of($new), (id_of($keys) + 1) % 256, 'has the next id, and stands first');
is(plain($t, $row) ? length plain($t, $row) : 0, 32, 'both open');
put($t, $row, 'x');
is(key_of($t, $row), id_of($new), 'and the first encrypts');

my $was = $t->slurp($new);
isnt(system("'$keygen' $new 2> $dir/err"), 0, 'what is there');
is($t->slurp($new), $was, '... is not overwritten');
like($t->slurp("$dir/err"), qr/exists/, '... and that is said');

my $full = $t->write_file('full', join '', map { "$_ key\n" } 3 .. 255, 0, 1);
is(system("'$keygen' $dir/last $full"), 0, 'one id is left');
is(id_of("$dir/last"), 2, '... and taken');
isnt(system("'$keygen' $dir/none $dir/last 2> $dir/err"), 0, 'none is left');
like($t->slurp("$dir/err"), qr/no key, or all of them/, '... is said');
isnt(system("'$keygen' $dir/none /nowhere 2> $dir/err"), 0, 'no old file');

# a disk that is full, before the first byte or in the midst of it

my $old = $t->write_file('long', $t->slurp($keys) . '# much' x 1000 . "\n");

isnt(system('bash', '-c', "trap '' XFSZ; ulimit -f $_->[0]; "
            . "'$keygen' '$dir/none' $_->[1] 2> /dev/null"), 0,
     "no room: $_->[0] KB")
    for [ 0, '' ], [ 1, "'$old'" ];
is(join(' ', glob "$dir/none*"), '', 'nothing was made, nor half of it');
is(system("'$keygen' '$dir/none'"), 0, 'where there is room');
is(join(' ', map { s/.*\///r } glob "$dir/none*"), 'none', 'it is');

done_testing();
