# Secrets: where usherctl takes them from, what the database has of them, and
# that they open for their own row and for no other.

use lib 't/lib';
use Usher::Test;
use Usher::Secret;


my $t = Usher::Test->new;
my $awin = 'network/acme/awin';

$t->postgres;
$t->ctl("org create name=$_") for qw(acme beta);
my $id = id_of(key_file($t, 'keys'));


# Exit code and what is said, with a text on standard input.

sub typed {
    my ($input, @args) = @_;

    local $ENV{USHER_DATABASE} = $t->dsn('usherctl');
    my $in = $t->write_file('input', $input);
    my $said = `'$t->{dir}/bin/usherctl' @args < '$in' 2>&1`;

    return ($? >> 8, $said);
}


# where it comes from

is_deeply([ @{ put($t, $awin, "s3cret\n") }{qw(kind org name key state)} ],
          [ qw(network acme awin), $id, 'active' ], 'what is answered');
is(plain($t, $awin), 's3cret', 'from a file, less its newline');
is((typed("t\xc3\xb6p\n2\n", call('put', $awin, 'value=-')))[0], 0, 'taken');
is(plain($t, $awin), "t\xc3\xb6p\n2", 'from standard input');
$t->ctl(call('put', 'source/acme/7', 'value=random:32'));
is(length plain($t, 'source/acme/7'), 32, 'at random');
my $first = plain($t, 'source/acme/7');
$t->ctl(call('put', 'source/acme/7', 'value=random:32'));
isnt(plain($t, 'source/acme/7'), $first, '... each time');
put($t, $awin, 'x' x 8192);
is(plain($t, $awin), 'x' x 8192, 'the longest');
put($t, 'network//awin', 'ours');
is(plain($t, 'network//awin'), 'ours', 'the operator has the same name');
is($t->sql('select count(*) from usher.secret'), 3, 'one row for each');

# typed on a terminal, which script(1) makes, and not shown there

SKIP: {
    skip 'no terminal to be had', 5
        if system('script -qec true /dev/null < /dev/null > /dev/null 2>&1');

    local %ENV = (%ENV, %{ $t->san_env },
                  USHER_DATABASE => $t->dsn('usherctl'));
    my $dir = $t->dir;
    my $ctl = join ' ', "tty > $dir/tty; $dir/bin/usherctl", call('put', $awin);

    open my $keys, '|-', "script -qec '$ctl' /dev/null > $dir/shown 2>&1";
    $t->wait_for(sub { my $tty = $t->slurp("$dir/tty") or return;
                       `stty -a -F $tty` =~ /-echo / }, 'asked for');
    syswrite $keys, "typed\n" x 2;
    close $keys;
    is(plain($t, $awin), 'typed', 'typed on a terminal');
    unlike($t->slurp("$dir/shown"), qr/typed/, 'which does not show it');

    for my $case ([ '', "one\ntwo\n", 'typed' ],
                  [ 'value=-', "again\nagain\n", 'again' ])
    {
        my $in = $t->write_file('input', $case->[1]);
        `script -qec '$ctl $case->[0]' /dev/null < '$in'`;
        is(plain($t, $awin), $case->[2], 'typed: ' . $case->[1] =~ tr/\n/ /r);
    }
}

# where it does not

for my $case ([ [ 'value=s3cret' ], qr/value= is a secret, and everybody/ ],
              [ [ 'value=' ], qr/value= is a secret, and everybody/ ],
              [ [ 'value=@@s3cret' ], qr/value= is a secret, and everybody/ ],
              [ [], qr/"secret put" needs value=/ ],
              [ [ 'value=random:15' ], qr/value=random:15 cannot be\n.*16 to 256/ ],
              [ [ 'value=random:257' ], qr/value=random:257 cannot be/ ],
              [ [ 'value=random:32x' ], qr/value=random:32x cannot be/ ],
              [ [ 'value=@' . $t->write_file('none', "\n") ],
                qr/value= has 0 bytes\nhint: .* 1 to 8192/ ],
              [ [ 'value=@' . $t->write_file('long', 'x' x 8193) ],
                qr/value= has 8193 bytes/ ],
              [ [ 'value=@' . $t->write_file('nul', "x\0y") ], qr/holds a NUL/ ])
{
    my ($value, $message) = @$case;
    my ($code, $out, $err) = $t->ctl_run(call('put', 'source/acme/x', @$value));

    is($code, 2, 'refused: ' . (substr("@$value", 0, 20) || 'nothing'));
    like($err, $message, '... says why');
    unlike($err, qr/s3cret/, '... and not what');
}

is($t->sql("select count(*) from usher.secret where name = 'x'"), 0,
   'nothing was done');

# whoever encrypts otherwise sends a ciphertext

for my $value ('s3cret', 'x' x 44, '', 'Ag' . 'A' x 42, 'AQ' . 'A' x 38 . '==',
               'AQ' . 'A' x 10962, sealed($t, $awin) . "\n")
{
    ok(!eval { $t->sql("select api.secret_put('source', 'x', ?)", $value); 1 },
       'no ciphertext: ' . substr $value, 0, 10);
    like($@, qr/value= is not encrypted/, '... is told');
    unlike($@, qr/s3cret/, '... and no more');
}

# moved, it does not open

put($t, $_, "of $_") for $awin, 'network/beta/awin';
my %sealed = map { $_ => sealed($t, $_) } $awin, 'network/beta/awin', 'source/acme/7';
is(status($t, $awin), 'ok', 'where it was put');
is(status($t, $awin, $sealed{'network/beta/awin'}), 'corrupt', 'of another org');
is(status($t, $awin, $sealed{'source/acme/7'}), 'corrupt', 'of another kind');
$t->sql("update usher.secret set name = 'cj' where id = 1");
is(status($t, 'network/acme/cj'), 'corrupt', 'a row that was renamed');

# retired, and removed

put($t, $awin, 'old');
is($t->ctl(call('retire', $awin))->{state}, 'retired', 'retired');
is(plain($t, $awin), 'old', 'it still opens');
like($t->ctl_fails(call('put', $awin, 'value=random:32')),
     qr/"awin" is retired.*US409/s, 'and is not replaced');
like($t->ctl_fails(call('retire', $awin)), qr/is retired.*US409/s, 'once');
is($t->ctl(call('drop', $awin))->{name}, 'awin', 'removed');
like($t->ctl_fails(call('show', $awin)), qr/no secret "awin".*US404/s, 'gone');
is($t->ctl(call('show', 'network/beta/awin'))->{org}, 'beta', 'and no other');
is_deeply([ map { $_->{name} } @{ $t->ctl('secret list kind=network org=beta') } ],
          [ 'awin' ], 'of one org and kind');
is_deeply([ map { $_->{org} } @{ $t->ctl('secret list kind=network') } ],
          [ 'acme', undef, 'beta' ], 'of all orgs');

done_testing();
