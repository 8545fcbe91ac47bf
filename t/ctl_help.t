# Help comes from the catalogue: what is added to it is a command.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;


sub help {
    my ($code, $out, $err) = $t->ctl_run(@_);

    is($code, 0, "help: usherctl @_");
    is($err, '', '... is not an error');

    return $out;
}


my $all = help('--help');
is(($t->ctl_run())[0], 0, 'so does no word at all');

my @nouns = map { $_->[0] } $t->rows("select distinct f->>'noun'
    from jsonb_array_elements(api.catalogue()) f");
like($all, qr/^  \Q$_\E +\w/m, "has $_") for @nouns;
like($all, qr/^usage: usherctl/, 'and the usage');

my $noun = help('key');
like($noun, qr/^  key create +Creates a key/m, 'verbs of a noun');
is(help('help', 'key'), $noun, 'in other words');
is(help('key', '--help'), $noun, 'as an option');

my $verb = help('key', 'create', '--help');
like($verb, qr/^usage: usherctl key create org=\.\.\. \[plan=\]/,
     'arguments, needed or not');
like($verb, qr/^  env +live or test \[live\]$/m, 'their text and default');
like($verb, qr/^  expires .*\(time\)$/m, 'and type');
like($verb, qr/^For: operator, admin, owner\.  Changes something\.$/m,
     'who may');
unlike($verb, qr/^org: /m, 'no raw comment');
like(help('secret', 'put', '--help'), qr/^  value .*random:32.*\(secret\)$/m,
     'what is a secret');
is(help('-h', 'key', 'create'), $verb, 'wherever the option stands');
is(help('help', 'key', 'create'), $verb, 'in words');
is(help('key', 'create', 'org=acme', '--help'), $verb,
   'even behind arguments');
is($t->sql('select count(*) from usher.key'), 0, 'help does nothing');

my ($code, $out, $err) = $t->ctl_run('kye', '--help');
is($code, 2, 'help on what is not there');
like($err, qr/did you mean "key"/, 'suggests');

($code, $out) = $t->ctl_run('--version');
like($out, qr/^usherctl \d/, 'version');

# a new function

$t->sql(q{
    set role usher_owner;
    create function api.weather_show(place text, days integer default 3)
    returns jsonb language sql
    as $$ select jsonb_build_object('place', place, 'days', days) $$;
    comment on function api.weather_show(text, integer) is
'Shows the weather.
place: where
days: how many days';
    reset role });

like(help('weather', 'show', '--help'),
     qr/Shows the weather\.\n\n  place +where\n  days +how many days \[3\]/,
     'a function that was added has its help');
is_deeply($t->ctl('weather show place=Rom'), { place => 'Rom', days => 3 },
          'and is a command');

done_testing();
