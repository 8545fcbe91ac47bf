package Faults;

# What util/chaos does to a world.  A fault begins now and may have a rest
# that is due later; others may begin in between.  The scenarios need calm,
# and run alone.

use v5.36;

use File::Path qw(remove_tree);
use Time::HiRes qw(sleep time);

use Judge;
use Usher::Test::Process qw(alive children);

our %FAULT = (
    worker => \&worker,
    master => \&master,
    reload => \&reload,
    supervisor => \&supervisor,
    duty_flush => sub ($self) { $self->duty('flush') },
    duty_directory => sub ($self) { $self->duty('directory') },
    duty_react => sub ($self) { $self->duty('react') },
    duty_keep => sub ($self) { $self->duty('keep') },
    second_usherd => \&second_usherd,
    no_usherd => \&no_usherd,
    redis_kept => sub ($self) { $self->redis(1) },
    redis_lost => sub ($self) { $self->redis(0) },
    redis_stopped => \&redis_stopped,
    flushall => \&flushall,
    del_stream => \&del_stream,
    postgres => \&postgres,
    hour => \&hour,
);

# In this order: what comes back with a backup must not rest on a slot that an
# older copy has replaced since.
our @SCENARIOS = qw(wiped_idle old_slot backup restored);
our %SCENARIO = (
    wiped_idle => \&wiped_idle,
    old_slot => \&old_slot,
    backup => \&backup,
    restored => \&restored,
);


sub new ($class, %opt) {
    return bless { %opt, kills => [], closings => [], events => [],
        later => [], failures => [], began => time }, $class;
}


sub say ($self, $text) {
    return if $self->{quiet};
    printf "# %7.2f  %s\n", time - $self->{began}, $text;
}


sub event ($self, $kind, $detail = '') {
    push @{ $self->{events} }, { at => time, kind => $kind,
        detail => $detail };
    $self->say("$kind $detail");
}


sub pick ($self, @list) {
    return $list[rand @list];
}


sub later ($self, $seconds, $what) {
    push @{ $self->{later} }, [time + $seconds, $what];
}


sub due ($self, $now = time) {
    my @due = grep { $_->[0] <= $now } @{ $self->{later} };

    $self->{later} = [ grep { $_->[0] > $now } @{ $self->{later} } ];
    $_->[1]->() for sort { $a->[0] <=> $b->[0] } @due;
}


sub wait ($self, $seconds) {
    my $end = time + $seconds;

    while (time < $end) {
        $self->due;
        sleep 0.02;
    }
}


sub calm ($self) {
    $self->wait(0.05) while @{ $self->{later} };
}


# Everything that should run does.

sub mend ($self) {
    my $w = $self->{world};

    $self->calm;
    $w->start($_) for qw(redis postgres usherd),
        grep { !$self->{ended}{$_} } @{ $self->{edges} };
}


# ---- nginx ----


sub kill_worker ($self, $edge, $pid) {
    push @{ $self->{kills} }, { edge => $edge, pid => $pid, at => time };
    kill 'KILL', $pid;
}


sub worker ($self) {
    my $edge = $self->pick(@{ $self->{mortal} });
    my $pid = $self->pick($self->{world}->workers($edge)) // return;

    $self->event('worker', "$edge $pid");
    $self->kill_worker($edge, $pid);
}


# The orphans go on serving for a while; then they are ended by pid, and only
# then can a new master bind.

sub master ($self) {
    my $edge = $self->pick(@{ $self->{mortal} });
    my $w = $self->{world};

    return if !$w->running($edge);
    $self->event('master', "$edge " . $w->pid($edge));

    my @orphans = $w->murder($edge, 1);

    $self->later(rand 1.5, sub { $self->rebirth($edge, @orphans) });
}


sub rebirth ($self, $edge, @orphans) {
    $self->bury($edge, @orphans);
    $self->{world}->start($edge);
}


sub bury ($self, $edge, @orphans) {
    $self->kill_worker($edge, $_) for grep { alive($_) } @orphans;
    $self->{world}->gone(@orphans);
}


# At once, and without waiting for the old workers to go.

sub reload ($self) {
    my $edge = $self->pick(@{ $self->{mortal} });
    my $w = $self->{world};

    return if !$w->running($edge);

    $self->event('reload', $edge);
    push @{ $self->{closings} }, { edge => $edge, at => time };
    kill 'HUP', $w->pid($edge);
}


# ---- usherd ----


sub supervisor ($self) {
    my $w = $self->{world};

    return if !$w->running('usherd');
    $self->event('supervisor', $w->pid('usherd'));
    $w->murder('usherd', 1);
    $self->later(rand 2, sub { $w->start('usherd') });
}


sub duty ($self, $name) {
    my @pids = $self->{world}->duties($name);

    $self->event("duty_$name", "@pids");
    kill 'KILL', @pids;
}


sub no_usherd ($self) {
    my $w = $self->{world};

    return if !$w->running('usherd');
    $self->event('no_usherd');
    $w->stop('usherd');
    $self->later(2 + rand 3, sub { $w->start('usherd') });
}


sub second_usherd ($self) {
    my $w = $self->{world};

    return if $w->running('usherd2');
    $self->event('second_usherd');
    $w->start('usherd2');
    $self->later(1 + rand 4, sub {
        rand() < 0.5 ? $w->stop('usherd2') : $w->murder('usherd2', 1);
    });
}


# ---- Redis and PostgreSQL ----


sub redis ($self, $keep) {
    my $w = $self->{world};

    return if !$w->running('redis');
    $self->event($keep ? 'redis_kept' : 'redis_lost');
    $w->murder('redis');
    $self->later(rand 2, sub {
        return if $w->running('redis');
        $w->forget if !$keep;
        $w->start('redis');
    });
}


sub redis_stopped ($self) {
    my $w = $self->{world};

    return if !$w->running('redis');

    my ($pid) = $w->signal('redis', 'STOP');

    $self->event('redis_stopped');
    $self->later(1 + rand 3, sub {
        kill 'CONT', $pid if $w->pid('redis') == $pid;
    });
}


# Not while it is stopped: redis-cli would wait, and we with it.

sub redis_answers ($self) {
    my $w = $self->{world};

    return $w->running('redis') && !$w->stopped('redis');
}


sub flushall ($self) {
    return if !$self->redis_answers;
    $self->event('flushall');
    $self->{world}->redis_cli('flushall');
}


sub del_stream ($self) {
    my $w = $self->{world};

    return if !$self->redis_answers;

    my @streams = $w->redis_cli('keys', 'usher:ev:*');
    my $stream = $self->pick(grep { /^usher:ev:/ } @streams) // return;

    $self->event('del_stream', substr $stream, 9, 8);
    $w->redis_cli('del', $stream);
}


sub postgres ($self) {
    my $w = $self->{world};

    return if !$w->running('postgres');
    $self->event('postgres');
    $w->murder('postgres');
    $self->later(rand 2, sub { $w->start('postgres') });
}


# What a clock that is ahead would do: this hour closes, and clicks that come
# later count in the next.

sub hour ($self) {
    my $w = $self->{world};

    return if !$w->running('postgres');
    $self->event('hour');

    # it may be in somebody's way, or end while we ask

    eval {
        $w->sql("set lock_timeout = '1s'");
        $w->sql("update usher.usage_close set closed_until
            = date_trunc('hour', now(), 'UTC') + interval '1 hour'");
        $w->sql('select usher.keep_clicks()');
    };
    eval { $w->sql('reset lock_timeout') };
}


# ---- Scenarios ----


sub fail ($self, $text) {
    push @{ $self->{failures} }, $text;
    $self->say("FAILED: $text");
}


sub rows ($self, @nodes) {
    return $self->{world}->sql('select (select count(distinct request_id)
            from usher.request where request_id like $1 and node = any ($2))
        + (select count(distinct sub1)
           from usher.click where sub1 like $1 and node = any ($2))',
        "$self->{prefix}-%", @nodes ? \@nodes : $self->{edges}) // 0;
}


# The crowd, and who tells of sales.

sub people ($self, $signal) {
    $self->{world}->signal($_, $signal) for qw(crowd shop);
}


# Rows that come while nothing new does: until none came for a while.

sub settle ($self, $quiet, $most) {
    my ($end, $last, $since) = (time + $most, -1, time);

    while (time < $end && time - $since < $quiet) {
        my $began = time;
        my $rows = $self->rows;
        ($last, $since) = ($rows, time) if $rows != $last;
        sleep 0.2 + 2 * (time - $began);
    }

    return $last;
}


# Until all that the nodes logged are rows, and no more come.  An edge repairs
# a stream after 30 s at the latest.

sub drain ($self) {
    my $want = $self->logged;
    my ($last, $since) = (-1, time);

    while ($last < $want && time - $since < 75) {
        my $began = time;
        my $rows = $self->rows(@{ $self->{mortal} });
        ($last, $since) = ($rows, time) if $rows != $last;
        sleep 0.2 + 2 * (time - $began);
    }

    return $self->settle(5, 90);
}


# No flush until the window is full; then Redis is wiped and nothing new
# comes: only the edge itself can notice.

sub wiped_idle ($self) {
    my $w = $self->{world};

    $self->mend;
    $self->event('wiped_idle');
    $w->murder('usherd', 1);
    $self->wait($self->{fill});

    # the tiny nodes, meanwhile, have to become full

    my $end = time + 30;

    for my $edge (grep { !$self->{ended}{$_} } @{ $self->{small} }) {
        $self->wait(0.5) until time > $end
            || $w->metric($edge, 'usher_journal_dropped_total');
        $self->fail("the journal of $edge never was full") if time > $end;
    }

    $self->people('STOP');
    sleep 0.3;
    $w->redis_cli('flushall');
    $w->start('usherd');

    my $want = $self->logged;
    my $rows;

    if (!eval { $w->await('rows', sub {
        ($rows = $self->rows(@{ $self->{mortal} })) >= $want }, 40) })
    {
        $self->fail("wiped_idle: $rows rows of $want while nothing new came");
    }
    $self->people('CONT');
}


# Ids in the access logs of the nodes that never are full.

sub logged ($self) {
    my %seen;

    for my $edge (@{ $self->{mortal} }) {
        open my $f, '<', "$self->{world}{dir}/$edge/ids.log" or die;
        while (<$f>) {
            my ($status, $id) = (split)[2, 3];
            $seen{$id} = 1 if $id =~ /^\Q$self->{prefix}\E-[^v]/
                && Judge::taken($id, $status);
        }
    }

    return 0 + keys %seen;
}


# A slot's directory comes back as it was some seconds before: what it holds
# is stored already, and what it lacks too.

sub old_slot ($self) {
    my $w = $self->{world};
    my $edge = $self->pick(@{ $self->{mortal} });
    my $journal = "$w->{dir}/$edge/journal";
    my $copy = "$w->{dir}/copy";

    $self->mend;

    my ($slot) = sort { -M $a <=> -M $b } grep { -d } glob "$journal/*";

    $self->event('old_slot', "$edge " . ($slot // 'none was found')
        =~ s{.*/}{}r);
    return $self->fail('old_slot: no slot') if !$slot;

    $w->run('cp', '-a', $slot, $copy);
    $self->wait(1.5);
    $self->people('STOP');
    $self->rebirth($edge, $w->murder($edge, 1));
    $self->drain;

    # nobody may write to it, nor retire it

    $self->bury($edge, $w->murder($edge, 1));
    remove_tree($slot);
    rename $copy, $slot or die "$copy: $!\n";
    $w->start($edge);
    $self->people('CONT');
}


# A base backup.  The tiny nodes end here, drained: what they freed since could
# not be sent again, and they say so by gaps.

sub backup ($self) {
    my $w = $self->{world};

    $self->mend;
    $self->event('backup');
    $self->people('STOP');
    $self->drain;

    for my $edge (@{ $self->{small} }) {
        $self->{dropped}{$edge} = $w->metric($edge,
            'usher_journal_dropped_total') // -1;
        push @{ $self->{closings} }, { edge => $edge, at => time };
        $w->stop($edge);
        $self->{ended}{$edge} = 1;
    }

    $self->people('CONT');
    $w->backup('backup');
    $self->{backup_at} = time;
}


# PostgreSQL as it was when the backup was taken.

sub restored ($self) {
    my $w = $self->{world};

    $self->mend;
    return $self->fail('restored: no backup') if !$self->{backup_at};
    $self->event('restored', sprintf 'to %.0f s ago',
        time - $self->{backup_at});
    $w->restore('backup');
}


1;
