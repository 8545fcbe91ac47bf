# Lines in quarantine are stored after all, once what refused them is mended:
# as flush would have stored them, once.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });

my $slot = Usher::Slot->new($t);
my $id = $slot->id;

# refused by a rule of the tables, as a schema behind its edges would

$t->sql('alter table usher.request add constraint narrow check (units < 99)');
$t->sql("alter table usher.hook add constraint narrow check (source <> 'odd')");
$slot->append($slot->requests(3),
              $slot->requests(2, units => 500, key_id => '\N',
                              route => 'a\tb\\\\n\n\\\\'),
              $slot->hook('odd', 'a', id => 'x', headers => '{"a": ["\\\\n"]}'),
              $slot->hook('shop', 'b'), "p1\tx\t1\t1\t\\\\x00ff\n",
              "p1\tx\tone\t1\t\\\\x00ff\n")->ship;
$t->wait_for(sub { $slot->stored }, 'all is taken');
is($t->sql('select count(*) from usher.quarantine'), 4, 'lines are refused');

my $answer = $t->ctl("quarantine retry slot=$id");
is_deeply([ @$answer{qw(stored refused)} ], [ 0, 4 ], 'refused again');
like($answer->{why}, qr/^line 1: .*"narrow"/, 'with the first reason');
is(($t->ctl_run("quarantine retry slot=$id"))[0], 3, 'which is not all well');
is($t->sql('select count(*) from usher.settled'), 0, 'and settles none');

# mended

$t->sql('alter table usher.request drop constraint narrow');
$t->sql('alter table usher.hook drop constraint narrow');
$answer = $t->ctl("quarantine retry slot=$id");
is_deeply([ @$answer{qw(stored duplicates refused)} ], [ 3, 0, 1 ], 'stored');
like($answer->{why}, qr/"one"/, 'but what is no line');
is($slot->once, '', 'each request is one row');
is($t->sql('select sum(requests) from usher.usage_total'), 5, 'summed up');
is($t->sql("select sum(units) from usher.usage_total where key_id = 0 and
            route = E'a\\tb\\\\n\\n\\\\'"), 1000, 'under its key and route');
is_deeply([ $t->rows("select source, headers->'a'->>0, encode(body, 'hex')
                      from usher.hook order by 1") ],
          [ [ 'odd', "\n", '6869' ], [ 'shop', undef, '6869' ] ],
          'a hook is the one that was sent');
is($t->sql('select count(*) from usher.hook_key'), 2, 'with its key');

$t->ctl('quarantine settle reason=broken id='
        . $t->ctl('quarantine list open=true')->[0]{id});
my $v = $t->ctl('journal verify');
ok($v->{ok}, 'it adds up') or diag("@{ $v->{problems} }");
is_deeply([ @{ $v->{settled} }{qw(stored given_up)} ], [ 3, 1 ],
          'and says what was settled');

# what came again meanwhile is there once

$t->sql("insert into usher.quarantine (slot, position, kind, line, reason)
         values ('$id', 1, 'h1', convert_to(?, 'UTF8'), 'bad')",
        $slot->hook('shop', 'b'));
$t->sql('update usher.journal set lines = lines + 1');
is($t->ctl("quarantine retry slot=$id")->{duplicates}, 1, 'a duplicate');
ok($t->ctl('journal verify')->{ok}, 'is counted as one');

# a late one counts in the first open hour

$t->sql("update usher.usage_close
         set closed_until = date_trunc('hour', now()) - interval '5 hours'");
$t->sql("insert into usher.quarantine (slot, position, kind, line, reason)
         values ('$id', 1, 'r1', convert_to(?, 'UTF8'), 'bad')",
        $slot->requests(1, event_time => '2026-01-01 00:00:00.000+00',
                        key_id => 77));
$t->ctl("quarantine retry slot=$id");
is($t->sql('select hour = closed_until from usher.usage_total,
            usher.usage_close where key_id = 77'), 1,
   'a late one counts in the first open hour');
is($t->sql("select event_time = '2026-01-01' from usher.request
            where key_id = 77"), 1, 'and keeps its time');

# a line as COPY would read it

my $line = join '', map { chr } grep { !/^(9|10|13|92)$/ }
                        1 .. 127;
$line = "r1\t2026-01-02 00:00:00.000+00\t\\N\t/\t200\t0\t0\t0\t\\N\tr\tn\tGET\t"
        . "h\t$line\\b\\t\\n\\v\\f\\r\\\\x41\\\\\\n\xc3\xa9\t::1\t\t\t\t\t\t0\n";
utf8::decode($line);
my $db = $t->db;

$db->do('create temp table copied (like usher.request)');
$db->do('alter table copied drop column received_at');
$db->do('copy copied from stdin');
$db->pg_putcopydata($line =~ s/^r1\t//r);
$db->pg_putcopyend;
$t->sql("select usher.line_store('r1', convert_to(?, 'UTF8'))", $line);
is($t->sql('select count(*) from copied c join usher.request r
            on (to_jsonb(r) - $$received_at$$) = to_jsonb(c)'), 1,
   'it is the row that COPY makes of it');

done_testing();
