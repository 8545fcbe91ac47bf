
# What an edge's log says of signs of life: when they stay away, when stale
# has passed, and when they are back; once each, whoever reads.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;
use Usher::Key;


my $t = Usher::Test->new;

$t->redis;
my $d = Usher::Key->new($t);

edge($t, http => 'usher_stale key 2s;');


sub said { return scalar(() = $t->error_log =~ /$_[0]/g) }

sub alive {
    $d->beat;

    my $s = $t->get('/usher/status')->json;

    return $s->{directory}{heartbeat_age_ms} < 1000;
}


my $lost = 'no sign of life of usherd';
my $ended = 'usher_stale of "key" has passed';
my $back = 'usherd gives signs of life again';

$t->wait_for(\&alive, 'a sign of life');
is(said($lost), 0, 'the first one was waited for');

for my $n (1, 2) {
    $t->wait_for(sub { said($ended) == $n }, "stale has passed: said");
    is(said($lost), $n, 'after it was said that there is no sign of life');

    # the next reader knows what was said

    $t->kill9('worker');
    $t->wait_for(sub { status($t, { key => Usher::Key::text() }) == 503 },
                 'another worker');

    $t->wait_for(\&alive, 'a sign of life');
    is(said($back), $n, 'said');
    is(said($lost), $n, 'no line twice');
    is(said($ended), $n, 'of both');
}

unlike($t->error_log, qr/usher_stale of "plan"/, 'plans serve for ever');

done_testing();
