# usherctl link health: whose targets, in which state, and which of a link's.

use lib 't/lib';
use Usher::Test;
use Usher::Catalogue;
use Usher::Health;

my $t = Usher::Test->new;

$t->postgres;

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl("domain add host=go.$org.example org=$org "
        . 'fallback=https://all.example/fallback');
    $t->ctl("link add host=go.$org.example slug=$_ url=https://$_.$org.test/")
        for qw(alive dead failing new unknown);
    $t->ctl("member set actor=of-$org org=$org role=analyst");
}

my $a = 'host=go.acme.example';

$t->ctl("link add $a slug=many url=https://dead.beta.test/ "
    . 'overflow=https://dead.acme.test/ expires=2100-01-01');
$t->ctl("link target set $a slug=many target=de url=https://dead.beta.test/#x");

collect($t);

for my $org (qw(acme beta)) {
    seen($t, "https://alive.$org.test/", 200);
    seen($t, "https://unknown.$org.test/", 403);
    dies($t, "https://dead.$org.test/");
    seen($t, "https://failing.$org.test/", 0, 'tls');
}

# "slug target" of each row

sub rows { my (@args) = @_;
           join ', ', map { "$_->{slug} $_->{target}" }
           @{ $t->ctl('link', 'health', @args) } }

is(rows('org=acme', "state=$_"), "$_ url", $_) for qw(alive failing unknown);
is(rows('org=acme', 'state=new', 'host=go.acme.example', 'slug=new'),
   'new fallback, new url', 'new, and where a host falls back');
is(rows('org=acme'), 'dead url, many overflow, many url, many de',
   'the dead, by the name that they have in a link');
is(rows('org=beta'), 'dead url', 'of whom one asks');
is(rows('host=go.BETA.example'), 'dead url', 'or of a host');
is(rows($a, 'slug=dead'), 'dead url', 'or of a link');
is(rows(), 'dead url, many overflow, many url, many de, dead url',
   'or of all');
is(rows('org=acme', 'limit=1'), 'dead url', 'of so many links');
is(rows('org=acme', 'after=go.acme.example/dead'),
   'many overflow, many url, many de', 'and the next');

my ($dead) = @{ $t->ctl("link health $a slug=dead") };
is($dead->{state}, 'dead', 'its state');
is($dead->{status}, 404, 'why');
is($dead->{failures}, 3, 'how often');
is($dead->{dead}, 'list', 'and what becomes of it');
is($t->ctl("link health $a slug=failing state=failing")->[0]{error}, 'tls',
   'or there was no answer');

$t->ctl("link disable $a slug=dead");
is(rows($a, 'slug=dead'), '', 'a link that is disabled has none');

# who is told: once, when it dies and when it lives

sub told { join ', ', map { join ' ', map { $_ // '-' } @$_ } $t->rows(
    "select o.name, n.what, n.payload->>'links', n.payload->'some'->>0
     from usher.notification n join usher.org o on o.id = n.org_id
     where n.payload->>'url' = ? order by n.id", $_[0]) }

my $theirs = 'https://dead.beta.test/';

is(told($theirs), 'acme link.dead 1 go.acme.example/many, '
   . 'beta link.dead 1 go.beta.example/dead', 'whose links led to the dead');
dies($t, $theirs);
seen($t, $theirs, 200) for 1 .. 2;
is(told($theirs) =~ s/.*dead, //r, 'acme link.alive 1 go.acme.example/many, '
   . 'beta link.alive 1 go.beta.example/dead', 'and that it lives, once');
is(told('https://dead.acme.test/'), 'acme link.dead 2 go.acme.example/dead',
   'how many of them');
is(told('https://failing.acme.test/'), '', 'not before');
$t->ctl("link update $a slug=many dead=ignore");
dies($t, $theirs);
is(told($theirs) =~ s/.*alive \S+ \S+, //r,
   'beta link.dead 1 go.beta.example/dead', 'nor who ignores it');
$t->ctl("link update $a slug=many dead=list");

# whose they are

is(scalar @{ ask($t, 'of-acme', 'link_health', org => 'acme', state => 'all') },
   scalar @{ ask($t, '', 'link_health', host => 'go.acme.example',
                 state => 'all') }, 'whose own they are is shown them');
is(ask($t, 'of-acme', 'link_health', %$_), 'US403', 'and nobody else\'s')
    for { org => 'beta' }, { host => 'go.beta.example' }, {},
        { org => 'acme', host => 'go.beta.example' };

# what is asked for at once

is($t->ctl("link check $a slug=many")->[-1]{target}, 'de', 'link check');
is($t->ctl('link update host=go.acme.example slug=new dead=fallback')->{dead},
   'fallback', 'a link says what becomes of the dead');
like($t->ctl_fails("link update $a slug=new dead=maybe"), qr/fallback.*ignore/,
     'one of three');

done_testing();
