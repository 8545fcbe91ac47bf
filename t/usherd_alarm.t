# The alarms of usherd that src/README.md lists: each goes off when what it is
# for happens, and is over when that is.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(conf => { usherd => { batch_age_ms => 20, lease_s => 2 } });
my ($calm, $slot, $forked) = map { Usher::Slot->new($t) } 1 .. 3;

my ($list) = $t->slurp($t->top . '/src/README.md')
             =~ /Metrics of usherd worth an alarm.*?:\n\n(.*?)\n\n/ms;
my %alarm = map { $_ => 1 } $list =~ /`(usherd_\w+)`/g;
my %walked;

sub values_of {
    $walked{ my $name = "usherd_$_[0]" }++;
    return $t->metrics =~ /^$name\{[^}]*\} (\d+)$/mg;
}

# Every process that has the series, or any of them, has such a value.

sub all_of {
    my ($name, $is) = @_;
    my @values = values_of($name);

    return @values == grep { $is->() } @values;
}

sub any_of {
    my ($name, $is) = @_;

    return scalar grep { $is->() } values_of($name);
}

sub small { $_ < 2500 }
sub large { $_ > 4000 }

sub row { $_[0]->append($_[0]->requests(3))->ship }

sub calm_again {
    row($calm);
    $t->wait_for(sub { all_of($_, sub { $_ == 1 }) }, "$_[0]: $_ is over", 20)
        for qw(postgres_up redis_up up);
    $t->wait_for(sub { all_of($_, \&small) }, "$_[0]: $_ is over", 40)
        for qw(flush_lag_ms directory_lag_ms react_lag_ms);
}

my @slots = ($calm, $slot, $forked);

row($_) for @slots;
$t->wait_for(sub { @slots == grep { $_->stored } @slots }, 'a beginning');
calm_again('calm');
is(scalar(() = values_of('postgres_up')), 4, 'four have PostgreSQL');
is(scalar(() = values_of('redis_up')), 2, 'two have Redis');

# PostgreSQL is away, and something is not stored; it hangs; Redis is away

$t->stop('postgres');
row($calm);
$t->wait_for(sub { all_of('postgres_up', sub { $_ == 0 }) },
             'PostgreSQL: away');
$t->wait_for(sub { any_of($_, \&large) }, "PostgreSQL: $_", 20)
    for qw(flush_lag_ms directory_lag_ms react_lag_ms);
$t->start('postgres');
$t->wait_for(sub { $calm->stored }, 'PostgreSQL: stored in the end', 20);
$t->wait_for(sub { all_of('flush_lag_ms', \&small) },
             'PostgreSQL: over without another event', 40);
calm_again('PostgreSQL');

my @backends = split ' ', $t->sql(
    "select string_agg(pid::text, ' ') from pg_stat_activity
     where application_name like 'usherd %'");
kill 'STOP', @backends;
row($calm);
$t->wait_for(sub { any_of($_, \&large) }, "PostgreSQL hangs: $_", 20)
    for qw(flush_lag_ms directory_lag_ms);
kill 'CONT', @backends;
calm_again('PostgreSQL hangs');

$t->kill9('redis');
$t->wait_for(sub { all_of('redis_up', sub { $_ == 0 }) }, 'Redis: away');
$t->wait_for(sub { any_of($_, \&large) }, "Redis: $_", 20)
    for qw(flush_lag_ms directory_lag_ms);
$t->start('redis');
$_->takeup(0) for @slots;
calm_again('Redis');

# a duty that dies again and again

$t->wait_for(sub { $t->kill9('keep'); any_of('up', sub { $_ == 0 }) },
             'a duty: down', 30);
$t->wait_for(sub { all_of('up', sub { $_ == 1 }) }, 'a duty: up', 20);

# poison, a loss

is($_, 0, 'no line in quarantine yet')
    for values_of('flush_quarantined_total');
$calm->append($calm->requests(200), $calm->requests(1, status => 70000))->ship;
$t->wait_for(sub { any_of('flush_quarantined_total', sub { $_ == 1 }) },
             'poison: counted');
is($_, 0, 'no gap yet') for values_of('flush_gaps_total');
my $end = $calm->end;
$calm->append($calm->requests(1))->hole($end, $calm->end, 'corrupt');
$t->wait_for(sub { any_of('flush_gaps_total', sub { $_ == 1 }) },
             'a loss: counted');

# a slot that stops, and one whose lines are awaited

$slot->append("z9\twhat\n")->ship;
$t->wait_for(sub { any_of('flush_slots_stopped', sub { $_ == 1 }) },
             'stopped');
$t->ctl('journal skip slot=' . $slot->id . ' reason=test to=' . $slot->end);
$t->wait_for(sub { all_of('flush_slots_stopped', sub { $_ == 0 }) },
             'resumed: over');

my $from = $calm->end;
$calm->append($calm->requests(2));
$calm->{shipped} = $calm->end;
row($calm);
$t->wait_for(sub { any_of('flush_lag_ms', \&large) }, 'a rewind: flush_lag_ms',
             20);
$calm->takeup($from);
calm_again('a rewind');

# a fork, accepted

my $copy = Usher::Slot->new($t, id => $forked->id, unregistered => 1);
$copy->append($copy->requests(9))->takeup(0);
$t->wait_for(sub { any_of('flush_slots_forked', sub { $_ == 1 }) }, 'forked');
$t->ctl('journal fork_accept slot=' . $forked->id . ' reason=test');
$t->wait_for(sub { all_of('flush_slots_forked', sub { $_ == 0 }) },
             'accepted: over');

# what follows from an event and cannot be done

$t->sql("insert into usher.todo (handler, reference, attempts, failed_at)
         values ('nothing', '{}', 15, now())");
$t->wait_for(sub { any_of('react_given_up', sub { $_ == 1 }) }, 'given up',
             20);
$t->ctl('todo drop reason=test id=' . $t->ctl('todo list')->[0]{id});
$t->wait_for(sub { all_of('react_given_up', sub { $_ == 0 }) },
             'dropped: over', 20);

# silent: not announced for an hour

sub silent {
    $t->stop('usherd');
    $t->sql("update usher.journal set announced_at = announced_at
             - interval '61 minutes'");
    $t->sql("delete from usher.lease where name = 'silent'");
    $t->start('usherd');
}

$calm->redis->hdel('usher:slots', $calm->id);
silent();
$t->wait_for(sub { any_of('flush_slots_silent', sub { $_ == 1 }) },
             'silent', 20);
$calm->register;
silent();
$t->wait_for(sub { $calm->stored
                   && all_of('flush_slots_silent', sub { $_ == 0 }) },
             'announced: over', 20);
calm_again('in the end');

is_deeply([ sort keys %walked ], [ sort keys %alarm ],
          'each alarm was walked');

done_testing();
