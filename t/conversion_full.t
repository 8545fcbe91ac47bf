# A full journal: a conversion is denied, so that it comes again, and taken
# when there is room; nobody was told that it was taken who has no row.

use lib 't/lib';
use Usher::Postback;
use Usher::Test;


my $t = Usher::Test->new;

world($t, journal => 'size=256k segment=64k window=64k sync=10ms',
      server => 'location = /pass { usher_full conversion pass; usher_conversion; }');
$t->expect_alerts(qr/journal ".*" is full/);

my $net = postback($t, 'name=net network=net');
my $pass = $net =~ s/^\/postback/\/pass/r;

$t->stop('usherd');

my ($n, $answer);

for ($n = 0; $n < 500; $n++) {
    $answer = $t->get("$net&transaction_id=t$n&x=" . 'y' x 2000);
    last if $answer->status != 200;
}

cmp_ok($n, '>', 50, 'taken while there is room');
is(said($answer), '503 journal_full', 'then denied');
like($answer->header('Retry-After'), qr/^\d+$/, '... to come again');
cmp_ok(counter($t, 'conversions_unavailable'), '>=', 1, '... and counted');

my $dropped = counter($t, 'journal_dropped');

is(said($t->get("$pass&transaction_id=p1&x=" . 'y' x 2000)), '200 OK',
   'or passed, by choice');
is(counter($t, 'journal_dropped') - $dropped, 1, '... which is counted');

$t->start('usherd');
$t->wait_for(sub { said($t->get("$net&transaction_id=t$n")) eq '200 OK' },
             'taken again when there is room', 30);
$t->wait_for(sub { $t->sql('select count(*) from usher.conversion_event')
                   == $n + 1 }, 'each that was taken is a row', 60);
is($t->sql("select count(*) from usher.conversion_event
            where transaction_id = 'p1'"), 0, 'what was passed is none');
$t->wait_for(sub { $t->sql("select api.journal_verify()->>'ok'") eq 'true' },
             'the books balance');

done_testing();
