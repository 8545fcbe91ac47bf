# usherctl: words, arguments, where values come from, and what goes wrong.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;


# exit code, output and errors, with things in the environment and on stdin

sub run {
    my ($env, $input, @args) = @_;

    local %ENV = (%ENV, %$env);

    if (defined $input) {
        my $file = $t->write_file('input', $input);
        my $dir = $t->dir;

        $ENV{USHER_DATABASE} //= $t->dsn('usherctl');
        my $out = `'$dir/bin/usherctl' @args < $file 2> $dir/err`;
        open my $fh, '<', "$dir/err";
        return ($? >> 8, $out, join '', <$fh>);
    }

    return $t->ctl_run(@args);
}


sub ctl { return run({}, undef, @_) }


my ($code, $out, $err) = ctl('org', 'create', 'name=acme');
is($code, 0, 'done');
is($err, '', 'nothing is said');
is(JSON::PP->new->decode($out)->{name}, 'acme', 'JSON on a pipe');
is(scalar split(/\n/, $out), 1, 'on one line');

# names of functions

for my $words ([ qw(plan create) ], [ 'plan_create' ], [ 'plan-create' ]) {
    ($code) = ctl(@$words, 'name=p' . @$words . length $words->[0]);
    is($code, $words->[0] eq 'plan-create' ? 1 : 0, "words: @$words");
}

is($t->ctl('plan', 'policy', 'set', 'plan=p24', 'policy=a', 'rate=1/s')
     ->{policies}[0]{quota}, 1, 'three words');

# usage: nothing is done, exit 2, and what to do instead

for my $case (
    [ [ qw(kye list) ], qr/no noun "kye"; did you mean "key"\?/ ],
    [ [ qw(zebra list) ], qr/no noun "zebra"$/m ],
    [ [ qw(key lst) ], qr/"key" has no verb "lst"; did you mean "key list"/ ],
    [ [ qw(key create ogr=acme) ],
      qr/no argument "ogr"; did you mean "org"\?.*needs org=: name of/s ],
    [ [ qw(key create) ], qr/needs org=/ ],
    [ [ qw(key create org=acme org=acme) ], qr/"org" is given twice/ ],
    [ [ qw(key create org=acme name=two words) ], qr/"words" is not name=/ ],
    [ [ qw(key create --org acme) ], qr/no option "--org".*without dashes/s ],
    [ [ qw(org list --actor) ], qr/--actor needs a value/ ],
    [ [ qw(org create name=@/nowhere) ], qr{cannot read /nowhere: No such} ],
    [ [ 'x' x 5000, 'y=1' ], qr/no such command/ ],
    [ [ 'key', 'create', ('a=1') x 70 ], qr/given twice/ ],
    [ [ 'key', 'create', map { "a$_=1" } 1 .. 70 ], qr/too many arguments/ ],
    [ [ ('x') x 70 ], qr/too many words/ ],
) {
    my ($args, $message) = @$case;

    ($code, $out, $err) = ctl(@$args);
    my $shown = substr "@$args", 0, 30;
    is($code, 2, "usage: $shown");
    like($err, $message, '... says why');
    is($out, '', '... and nothing else');
}

is($t->sql('select count(*) from usher.key'), 0, 'nothing was done');

# what the database refuses

($code, $out, $err) = ctl(qw(key create org=nope));
is($code, 1, 'refused');
is($err, qq{usherctl: there is no org "nope"\n}
         . qq{hint: "usherctl org list" shows all.\n}
         . qq{reason: not found (US404)\n}, 'message, hint, reason');

($code, $out, $err) = ctl('key', 'create', 'org=acme', 'expires=tomorow');
is($code, 1, 'a value that is none');
like($err, qr/expires="tomorow" is not a time\nhint: .*\nreason: bad argument/,
     'says which, and what it should be');

# values are values

my $evil = q{'); drop table usher.key; --"\\};
is($t->ctl('org', 'update', 'org=acme', "title=$evil")->{title}, $evil,
   'a value is never part of a statement');
is($t->ctl('org', 'update', 'org=acme', 'title=a=b')->{title}, 'a=b',
   'it may hold a =');
($code, $out, $err) = ctl('org', 'update', 'org=acme', "title=\xff");
is($code, 1, 'what is not UTF-8 is refused');

my $file = $t->write_file('title', "from a file\n");
is($t->ctl('org', 'update', 'org=acme', "title=\@$file")->{title},
   'from a file', 'a value from a file, less its newline');
is($t->ctl('org', 'update', 'org=acme', 'title=@@home')->{title}, '@home',
   'a value that begins with @');

($code, $out, $err) = run({}, "from stdin\n", 'org', 'update', 'org=acme',
                          'title=-');
is(JSON::PP->new->decode($out)->{title}, 'from stdin', 'from standard input');
($code, $out, $err) = run({}, "x", 'org', 'update', 'org=-', 'title=-');
is($code, 2, 'which is read once');
($code, $out, $err) = run({}, "a\0b", 'org', 'update', 'org=acme', 'title=-');
like($err, qr/holds a NUL/, 'a NUL cannot be passed');
my $long = $t->write_file('long', 'x' x 100_000);
($code, $out, $err) = ctl('org', 'update', 'org=acme', "title=\@$long");
like($err, qr/at most 200 characters/, 'a long one is passed whole');

# files

my $csv = $t->write_file('a.csv', "day,base,quote,rate\n2026-11-27,EUR,USD,1.25\n");

is($t->ctl('fx', 'import', "file=$csv")->{added}, 1, 'file= is csv=@');
is($t->ctl('fx', 'import', "file=\@$csv")->{unchanged}, 1, 'also with the @');
($code, $out) = run({}, $t->slurp($csv), qw(fx import file=-));
is(JSON::PP->new->decode($out)->{unchanged}, 1, 'or from standard input');
like($t->ctl_fails(qw(link import file=/no.csv)), qr{cannot read /no\.csv: No such},
     'of any length as well');
($code, $out, $err) = ctl('fx', 'import', "file=$csv", "csv=\@$csv");
is($code, 2, 'not twice');
like($err, qr/csv= and file= are both given\nhint: /, '... says why');
($code, $out, $err) = ctl(qw(org update org=acme), "file=$csv");
like($err, qr/"org update" has no argument "file"/, 'nor where there is no csv=');

# actors

$t->ctl('member set actor=ann org=acme role=analyst');
($code, $out, $err) = ctl(qw(--actor ann key create org=acme));
is($code, 1, 'an actor has its rights');
like($err, qr/ann may not call key_create.*not allowed \(US403\)/s, 'by name');
($code) = run({ USHER_ACTOR => 'ann' }, undef, qw(key create org=acme));
is($code, 1, 'by the environment');
($code) = run({ USHER_ACTOR => '' }, undef, qw(key create org=acme));
is($code, 0, 'an empty one there is the operator');

# databases

($code, $out, $err) = run({ USHER_DATABASE => 'host=/nowhere' }, undef,
                          qw(org list));
is($code, 1, 'no database');
like($err, qr/usherctl: .*nowhere.*\nhint: Name the database/s, 'says how');

($code, $out, $err) = run({ USHER_DATABASE => $t->dsn . ' dbname=postgres' },
                          undef, qw(org list));
like($err, qr/util\/migrate/, 'a database without Usher');

$t->write_file('ctl.conf', "[postgres]\nconninfo = " . $t->dsn('usherctl')
                           . "\n");
my %conf = (USHER_DATABASE => '', USHERCTL_CONF => $t->dir . '/ctl.conf');
($code, $out) = run(\%conf, '', qw(org list));
is($code, 0, 'the database of a file');
$t->write_file('ctl.conf', "[postgres]\nconninof = x\n");
($code, $out, $err) = run(\%conf, '', qw(org list));
is($code, 2, 'a file that is wrong');
like($err, qr/ctl\.conf:2 is not understood/, 'by file and line');
($code) = run(\%conf, '', '--database', "'" . $t->dsn('usherctl') . "'",
              qw(org list));
is($code, 0, '--database beats both');

# a call is one transaction, its output is checked

is(system(sprintf "USHER_DATABASE='%s' %s/bin/usherctl org list > /dev/full "
                  . '2> /dev/null', $t->dsn('usherctl'), $t->dir) >> 8, 1,
   'a full disk is not success');

done_testing();
