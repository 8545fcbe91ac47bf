# What is found of a target, and what that means: when it is dead, when it is
# alive again, and when it is asked next.

use lib 't/lib';
use Usher::Test;
use Usher::Health;

my $t = Usher::Test->new;

$t->postgres;
$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'go.example', org => 'acme')");
$t->sql("select api.link_add(host => 'go.example', slug => '$_', "
    . "url => 'https://$_.example/')") for qw(a b c);

collect($t);

my ($a, $b, $c) = map { "https://$_.example/" } qw(a b c);

sub state_of { health($t, $_[0])->{state} }

# a status, and what it says

my %verdict = (200 => 'alive', 206 => 'alive', 301 => 'alive', 302 => 'alive',
               399 => 'alive', 404 => 'failed', 410 => 'failed',
               500 => 'failed', 503 => 'failed', 599 => 'failed',
               map { $_ => 'unknown' } 100, 400, 401, 403, 405, 429, 451, 999);

is($t->sql("select usher.health_verdict(?, '')", $_), $verdict{$_},
   "$_: $verdict{$_}") for sort keys %verdict;
is($t->sql('select usher.health_verdict(null, ?)', $_), 'failed', $_)
    for qw(resolve connect tls timeout broken large);
is($t->sql('select usher.health_verdict(null, ?)', $_), 'unknown',
   "$_: nobody was asked") for qw(url request address internal);

# the third in a row, and not at once

is(state_of($a), 'new', 'at first');
is(seen($t, $a, 404), undef, 'the first is no news');
is(state_of($a), 'failing', 'it is failing');
is(seen($t, $a, 404), undef, 'nor is another at once') for 1 .. 5;
is(health($t, $a)->{failures}, 1, 'which does not count');
hours($t, 1);
is(seen($t, $a, 500), undef, 'nor the second');
hours($t, 6);
is(seen($t, $a, 404), 'dead', 'the third is death');
is(state_of($a), 'dead', 'as it is listed');
hours($t, 6);
is(seen($t, $a, 404), undef, 'which comes once');
hours($t, 6);
is(seen($t, $a, 403), undef, 'who turns robots away says nothing');
is(state_of($a), 'dead', 'of the dead');
is(seen($t, $a, 302), 'alive', 'one good answer is life');
is(state_of($a), 'alive', 'as it is listed then');

hours($t, 24), seen($t, $b, $_) for 404, 404, 200, 404, 404;
is(state_of($b), 'failing', 'a good one between begins anew');
seen($t, $b, 200);

hours($t, 24), seen($t, $b, $_) for 404, 403, 404, 429, 404;
is(state_of($b), 'dead', 'one that says nothing does not');
hours($t, 24), seen($t, $b, 429) for 1 .. 5;
seen($t, $b, 200);
hours($t, 24), seen($t, $b, 429) for 1 .. 5;
is(state_of($b), 'unknown', 'and is no failure');

# when it is asked again

sub hours_to { health($t, $_[0])->{wait} / 3600 }

seen($t, $c, 200);
ok(hours_to($c) >= 11.9 && hours_to($c) <= 36.1, 'all well: tomorrow');
my $day = $t->sql("select extract(hour from next_at) from usher.health "
                  . 'where url = ?', $c);
hours($t, 24);
seen($t, $c, 200);
is($t->sql("select extract(hour from next_at) from usher.health where url = ?",
           $c), $day, 'at its own time of the day');
cmp_ok($t->sql("select count(distinct date_trunc('hour',
       usher.health_daily(sha256(n::text::bytea)))) from generate_series(1, 500) n"),
       '>=', 23, 'which spreads over the day');

hours($t, 24);
seen($t, $c, 500);
is(sprintf('%.1f', hours_to($c)), '1.0', 'failed: in an hour');
hours($t, 1);
seen($t, $c, 500);
is(sprintf('%.1f', hours_to($c)), '6.0', 'again: in six');
hours($t, 6);
seen($t, $c, 500);
is(sprintf('%.1f', hours_to($c)), '6.0', 'dead: in six');
hours($t, 24 * 8);
seen($t, $c, 500);
cmp_ok(hours_to($c), '>', 11.9, 'long dead: tomorrow');

# nobody dies of our own network: without an answer by anybody it counts once

seen($t, $_, 200) for $a, $b, $c;

for (1 .. 9) {
    hours($t, 6);
    seen($t, $_, 0, 'timeout') for $a, $b, $c;
}

is(join(' ', map { state_of($_) } $a, $b, $c), 'failing failing failing',
   'all of them fail: none is dead');
is(health($t, $a)->{failures}, 1, 'one failure counts');

hours($t, 6), seen($t, $b, 403), seen($t, $a, 0, 'timeout') for 1 .. 2;
is(state_of($a), 'dead', 'others answer: it is');
is(state_of($c), 'failing', 'who was not asked is not');

$t->sql('delete from usher.health_target');
hours($t, 2);
collect($t);
$t->sql("select api.link_disable(host => 'go.example', slug => '$_')")
    for qw(b c);
hours($t, 2);
collect($t);
collect($t);
seen($t, $a, 200);
hours($t, 6), seen($t, $a, 0, 'resolve') for 1 .. 3;
is(state_of($a), 'dead', 'where there is nobody else it is as it seems');

is(seen($t, 'https://nobody.example/', 200), undef, 'of what is no target');

done_testing();
