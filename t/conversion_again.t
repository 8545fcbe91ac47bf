# The same words of a transaction again: because the answer was lost, or since
# it is so again.  Who says when it became so, or which message it is, is
# understood; of others what was told in between stays, and is listed.

use lib 't/lib';
use Usher::Conversion;
use Usher::Slot;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
world($t);

sub state_of {
    my $c = truth($t, $_[0]);
    return join ' ', map { $_ // '-' } @$c{qw(state amount)};
}

sub problem { truth($t, $_[0])->{state_problem} // '' }

my $again = qr/^status="approved" was told before, and again/;

# neither a time nor an id

my @life = ([ 1, status => 'approved', amount => '5' ],
            [ 2, status => 'reversed' ],
            [ 3, status => 'approved', amount => '5' ]);

sub life {
    my ($transaction, @order) = @_;

    tell($t, 'net', $transaction, at => day(10, $_->[0]), currency => 'EUR',
         @$_[1 .. $#$_])
        for @order;
}

life('a', @life);
is(state_of('a'), 'reversed 500', 'the same words again change nothing');
like(problem('a'), $again, 'but are a problem');
is($t->sql('select sum(amount) from usher.revenue'), 0, 'and no money');
life('b', $life[0], $life[1], [ 1.5, @{ $life[0] }[1 .. 4] ]);
is(state_of('b') . problem('b'), 'reversed 500', 'a repeat of before is none');
life('c', $life[0], @life[0, 0]);
is(state_of('c') . problem('c'), 'approved 500', 'nor where nothing was between');
is($t->sql('select count(*) from usher.conversion_change h
            join usher.conversion c on c.id = h.conversion_id
            where c.transaction_id = $$c$$'), 1, 'which is once in its history');
life('d', [ 1, status => 'pending' ], [ 2, status => 'approved' ],
     [ 3, status => 'pending' ]);
is(state_of('d') . problem('d'), 'approved -', 'a pending takes nothing back');
life('e', $life[0], [ 2, status => 'approved', amount => '6' ], $life[2]);
is(state_of('e'), 'approved 600', 'an amount as little');
like(problem('e'), $again, 'and it is listed');
life('f', $life[0], $life[1]);
$t->sql("insert into usher.postback (org_id, name, network_id, endpoint)
         select org_id, 'net2', network_id, endpoint from usher.postback
         where name = 'net'");
tell($t, 'net2', 'f', at => day(10, 3), currency => 'EUR',
     @{ $life[0] }[1 .. 4]);
is(state_of('f'), 'reversed 500', 'nor by another postback of the network');

is($t->ctl('conversion', 'import', 'org=acme', 'network=net', "csv=transaction_id,"
           . "status,amount,currency\na,approved,5,EUR\n")->{changed}, 1,
   'a report says what holds');
is(state_of('a') . problem('a'), 'approved 500', 'and there is no problem');
$t->sql("select usher.todo_put('again', array[jsonb_build_object(
             'postback_id', 1, 'transaction_id', 'nobody', 'digest', '00',
             'at', now())])");
react($t);
is($t->sql('select count(*) from usher.todo'), 0, 'nobody\'s words are nothing');

# an id of the message

my $id = 0;

tell($t, 'net', 'g', at => day(10, $_->[0]), event_id => "e" . ++$id,
     currency => 'EUR', @$_[1 .. $#$_])
    for @life;
is(state_of('g') . problem('g'), 'approved 500', 'another id is another message');
tell($t, 'net', 'g', at => day(10, 4), status => 'reversed', event_id => 'e2',
     currency => 'EUR');
is(state_of('g') . problem('g'), 'approved 500', 'and the same the same');

# the time at which it became so, in any order

for my $order ([ 0, 1, 2 ], [ 2, 1, 0 ], [ 1, 2, 0, 1, 0 ], [ 2, 0, 1, 2 ]) {
    my $hour = 0;

    tell($t, 'net', "t-@$order", at => day(20, ++$hour), currency => 'EUR',
         status_time => day(19, $_), @{ $life[$_] }[1 .. $#{ $life[$_] }])
        for @$order;
    is(state_of("t-@$order") . problem("t-@$order"), 'approved 500',
       "told in the order @$order: by the time it became so");
}

is($t->sql('select usher.status_moment(?)', $_->[0]), $_->[1],
   "a time: $_->[0]")
    for [ 1767225600, '2026-01-01 00:00:00+00' ],
        [ 1767225600500, '2026-01-01 00:00:00.5+00' ],
        [ '2026-01-01', '2026-01-01 00:00:00+00' ],
        [ '2026-01-01 10:20', '2026-01-01 10:20:00+00' ],
        [ '2026-01-01T10:20:30Z', '2026-01-01 10:20:30+00' ],
        [ '2026-01-01T10:20:30.5-07:00', '2026-01-01 17:20:30.5+00' ],
        [ '2026-01-01T10:20:30 0200', '2026-01-01 08:20:30+00' ],
        [ '', undef ], [ 'now', undef ], [ '1', undef ], [ 'infinity', undef ],
        [ '2026-13-01', undef ], [ '01/02/2026', undef ], [ '9' x 20, undef ];

tell($t, 'net', 'u', at => day(30), status => 'approved', status_time => $_)
    for 'x', '2026-01-01';
is($t->sql("select string_agg(at::date::text, ' ' order by h.id)
            from usher.conversion_change h join usher.conversion c
            on c.id = h.conversion_id where c.transaction_id = 'u'"),
   '2026-01-31 2026-01-01', 'what is no time is not asked');
tell($t, 'net', 'v', at => day(60), status => 'approved',
     status_time => '2020-01-01');
tell($t, 'net', 'w', at => time, status => 'approved', status_time => 4e9);
is($t->sql("select string_agg((state_at - event_time < '6 minutes')::text
                || ' ' || (event_time - state_at)::text, ' ')
            from usher.conversion c join usher.conversion_event e
            using (transaction_id) where transaction_id = 'v'"),
   'true 31 days', 'nor one of another year');
is($t->sql("select c.state_at = e.received_at + interval '5 minutes'
            from usher.conversion c join usher.conversion_event e
            using (transaction_id) where transaction_id = 'w'"), 1,
   'or ahead of us');

# through flush: in one batch, and later

$t->usherd(duties => 'flush,react', conf => { usherd => {
    batch_age_ms => 20 } });

my $slot = Usher::Slot->new($t);
my $net = $t->sql("select id from usher.postback where name = 'net'");

sub line {
    my ($transaction, $hour, %col) = @_;

    return $slot->conversion($transaction, postback_id => $net,
        event_time => sprintf('2026-02-01 %02d:00:00.000+00', $hour), %col);
}

$slot->append(map { line('flushed', @$_) } @life)
    ->append(line('late', @{ $life[0] }), line('late', @{ $life[1] }))->ship;
$t->wait_for(sub { truth($t, 'flushed') && problem('flushed') =~ $again },
             'what comes again in one batch is looked at', 30);
is(state_of('flushed') =~ s/ .*//r, 'reversed', 'and changes nothing');
$slot->append(line('late', @{ $life[2] }))->ship;
$t->wait_for(sub { problem('late') =~ $again }, 'and one by itself', 30);
is($t->sql('select sum(losers) from usher.journal'), 2, 'no row of its own');

done_testing();
