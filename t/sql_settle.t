# What journal verify reports can be settled, with a reason that stays: a gap
# accepted, a fork accepted, a line given up.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

my ($slot, $fork) = ('0123456789abcdef' x 2, 'fedcba9876543210' x 2);

$t->sql("insert into usher.journal (slot, state, position, lines)
         values ('$slot', 'live', 1000, 3), ('$fork', 'forked', 500, 0)");
$t->sql("insert into usher.journal_gap (slot, from_position, to_position, reason)
         values ('$slot', 5, 9, 'freed'), ('$slot', 20, 30, 'corrupt')");
$t->sql("insert into usher.quarantine (slot, position, kind, line, reason)
         select '$slot', n, 'r1', 'x', 'bad' from generate_series(1, 3) n");


sub problems { join '; ', @{ $t->ctl('journal verify')->{problems} } }


my ($code, $out) = $t->ctl_run('journal verify');
is($code, 3, 'what is not well is an exit code of its own');
ok(!JSON::PP->new->decode($out)->{ok}, 'and the answer is there');
is(problems(), '2 gaps, 14 bytes; 3 events in quarantine; 1 slots are forked',
   'all that is open');

# a gap

$t->ctl('journal gap accept gap=1 reason=known');
is(problems(), '1 gaps, 10 bytes; 3 events in quarantine; 1 slots are forked',
   'an accepted gap is none of it');
is($t->ctl('journal gaps')->[0]{because}, 'known', 'it stays on record');
is_deeply([ map { $_->{id} } @{ $t->ctl('journal gaps open=true') } ], [ 2 ],
          'those that are open');

# a fork

like($t->ctl_fails("journal fork accept slot=$slot reason=x"),
     qr/the slot is live.*"usherctl journal list"/s, 'only a fork is accepted');
$t->ctl("journal fork accept slot=$fork reason=mended");
is(problems(), '1 gaps, 10 bytes; 3 events in quarantine', 'an accepted fork');

# lines

is($t->ctl('quarantine settle id=2 reason=seen')->{settled}, 1,
   'a line is given up');
is($t->ctl('quarantine list open=true limit=1')->[0]{id}, 3,
   'the others are open');
is($t->ctl("quarantine settle slot=$slot reason=seen")->{settled}, 2,
   'all others of a slot');
is($t->ctl('quarantine list')->[2]{because}, 'seen', 'they stay on record');

$t->ctl('journal gap accept gap=2 reason=known');
($code, $out) = $t->ctl_run('journal verify');
is($code, 0, 'all is well again');
my $v = JSON::PP->new->decode($out);
is($v->{missing}, 0, 'what was given up is accounted for');
is_deeply($v->{settled}, { gaps => 2, gap_bytes => 14, given_up => 3,
                           stored => 0, forked => 1 },
          'and what was settled is said');

# once, with a reason, with an audit row

like($t->ctl_fails('journal gap accept gap=1 reason=x'),
     qr/accepted already.*"usherctl journal gaps"/s, 'a gap is accepted once');
like($t->ctl_fails("journal fork accept slot=$fork reason=x"),
     qr/accepted already.*"usherctl audit list"/s, 'as is a fork');
like($t->ctl_fails('quarantine settle id=2 reason=x'),
     qr/no line 2 is open.*"usherctl quarantine list"/s, 'and a line');
like($t->ctl_fails('journal gap accept gap=9 reason=x'),
     qr/no gap 9.*"usherctl journal gaps"/s, 'a gap that is none');
like($t->ctl_fails('quarantine settle reason=x'), qr/no line was named.*hint/s,
     'which line has to be said');

for my $call ('journal gap accept gap=1', "journal fork accept slot=$fork",
              'quarantine settle id=1', "journal resume slot=$slot",
              "journal skip slot=$slot to=2000")
{
    like($t->ctl_fails("$call reason="), qr/needs a reason.*hint/s,
         "$call: with a reason");
    like($t->ctl_fails("$call reason=" . 'x' x 201), qr/too long.*hint/s,
         '... of bounded length');
}

is_deeply([ map { $_->[0] } $t->rows('select function from usher.audit
                                      order by id') ],
          [ qw(journal_gap_accept journal_fork_accept quarantine_settle
               quarantine_settle journal_gap_accept) ],
          'each leaves an audit row');
is($t->sql("select arguments->>'reason' from usher.audit limit 1"), 'known',
   'with the reason');

done_testing();
