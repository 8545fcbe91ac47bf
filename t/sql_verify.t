# journal verify finds what it is there for, planted one by one.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my ($slot) = ('0123456789abcdef' x 2);

$t->sql("insert into usher.journal (slot, node, position, lines)
         values ('$slot', 'edge1', 1000, 10)");
$t->sql("insert into usher.request (event_time, key_id, route, status, units,
             bytes_sent, duration_ms, org_id, request_id, node, method, host,
             uri, user_agent, referer, auth_status, limit_status, protocol,
             flags)
         select '2026-01-01', 1, '/', 200, 1, 10, 1, 1, 'r' || n, 'edge1',
                'GET', 'h', '/', '', '', 'ok', 'ok', 'HTTP/1.1', 0
         from generate_series(1, 10) n");
$t->sql("insert into usher.usage_delta values
         (date_trunc('hour', now()), 1, 1, '/', 200, 10, 10, 100, 10)");

my $v = $t->ctl('journal verify');
ok($v->{ok}, 'ten events are ten rows');
is_deeply($v->{problems}, [], 'no problem');
is($v->{slots}[0]{slot}, $slot, 'slots as their directories are named');


# In a transaction that is undone, so that each stands alone.

sub finds {
    my ($plant, $problem, $what) = @_;

    $t->db->begin_work;
    $t->sql($plant);
    $v = JSON::PP->new->decode($t->sql('select api.journal_verify()'));
    $t->db->rollback;

    ok(!$v->{ok}, $what);
    ok(scalar(grep { $_ =~ $problem } @{ $v->{problems} }),
       "... as $problem") or diag("@{ $v->{problems} }");
}


my $copy = "insert into usher.request select * from usher.request
            where request_id = 'r3'";

finds($copy, qr/^1 rows are there again/, 'a row stored twice');
is_deeply($v->{duplicate_ids}, [ 'r3' ], '... which one');
is($v->{missing}, -1, '... and there is a row too many');
finds("$copy; delete from usher.request where request_id = 'r4'",
      qr/there again/, 'twice, while the count is right');

# an id of the client's is no proof, but tells which where there are too many

my $named = "update usher.request set flags = 4 where request_id = 'r3'";

finds("$named; $copy", qr/^1 rows are there again/, 'a row too many');
is_deeply($v->{duplicate_ids}, [ 'r3' ], '... perhaps this one');

finds("delete from usher.request where request_id = 'r4'",
      qr/^1 events have no row/, 'a row lost');
finds("insert into usher.journal_gap (slot, from_position, to_position, reason)
       values ('$slot', 5, 9, 'freed')", qr/^1 gaps, 4 bytes/, 'a gap');
finds("insert into usher.quarantine (slot, position, kind, line, reason)
       values ('$slot', 5, 'r1', 'x', 'bad'); update usher.journal
       set lines = 11", qr/^1 events in quarantine/, 'quarantine');
is($v->{missing}, 0, '... which is where the event is');
finds("update usher.journal set state = 'forked'", qr/^1 slots are forked/,
      'a fork');
finds("update usher.journal set state = 'stopped'", qr/^1 slots are stopped/,
      'a stop');
finds('update usher.usage_delta set requests = 9', qr/sums differ.* by 1$/,
      'a sum too small');
finds("insert into usher.usage select * from usher.usage_delta",
      qr/sums differ.* by -10$/, 'a sum counted twice');
finds("insert into usher.hook_key values ('s', '1')",
      qr/keys of hooks differ from rows by 1/, 'a hook without its row');

# what was said of a conversion, twice: no count differs

my $said = "insert into usher.conversion_event
            select now(), '2026-01-01', 1, 1, 'postback', 1, '', 't1', '', '',
                   '', '', '', '', '', '', '', '', '\\x00', 'edge1', '', null, '', 0";

finds("insert into usher.conversion_key values (now(), 1, 't1', '\\x00')",
      qr/keys of conversions differ from rows by 1/, 'one without its row');
finds("$said; $said; update usher.journal set lines = 12",
      qr/^1 rows are there again/, 'one that is there twice');
is_deeply($v->{duplicate_ids}, [ 't1' ], '... which one');

# retention takes rows, not the proof

$t->sql("select usher.partition_ensure('request', '2026-01-01')");
$t->sql("update usher.request set received_at = '2026-01-01 12:00+00'
         where request_id = 'r1'");
$t->sql('select usher.keep_partitions()');
is($t->sql('select count(*) from usher.request'), 9, 'a day was dropped');
ok($t->ctl('journal verify')->{ok}, 'and is accounted for');

# gaps, by the operator

like($t->ctl_fails("journal skip slot=$slot to=1000 reason=x"),
     qr/to=1000 cannot be: the slot is stored up to 1000/, 'nothing to skip');
like($t->ctl_fails("journal skip slot=$slot to=1200 reason="),
     qr/needs a reason/, 'a loss needs a reason');
like($t->ctl_fails("journal skip slot=ff to=1200 reason=x"),
     qr/no slot "ff".*usherctl journal list/s, 'an unknown slot');

for my $state ('forked', 'ended') {
    $t->sql("update usher.journal set state = '$state'");
    like($t->ctl_fails("journal skip slot=$slot to=1200 reason=x"),
         qr/slot is $state/, "nor one that is $state");
}

$t->sql("update usher.journal set state = 'stopped', reason = 'poison'");
$t->ctl("journal skip slot=$slot to=1200 reason=tested");
is_deeply([ $t->rows('select position, rechain, state from usher.journal') ],
          [ [ 1200, 1, 'live' ] ], 'skipped: it goes on behind');
my $gaps = $t->ctl("journal gaps slot=$slot");
is_deeply([ map { "$_->{from} $_->{to} $_->{reason}" } @$gaps ],
          [ '1000 1200 tested' ], 'and the loss is on record');

like($t->ctl_fails("journal resume slot=$slot reason=x"), qr/slot is live/,
     'only what stopped is resumed');
$t->sql("update usher.journal set state = 'stopped'");
is($t->ctl("journal resume slot=$slot reason=mended")->{state}, 'live',
   'resumed');
is(scalar @{ $t->ctl('journal list state=stopped') }, 0, 'none is stopped');

$t->sql("insert into usher.quarantine (slot, position, kind, line, reason)
         values ('$slot', 5, 'r1', '\\x00ff41', 'bad')");
is($t->ctl('quarantine list')->[0]{line}, '\000\377A',
   'a quarantined line can be read');

done_testing();
