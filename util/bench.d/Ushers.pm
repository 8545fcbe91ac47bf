package Ushers;

# Usher among the contestants: a private PostgreSQL, Redis and usherd, one org,
# and nginx instances that do more and more of the job.

use v5.36;

use Time::HiRes qw(sleep time);


sub new ($class, %opt) {
    my $self = bless { %opt }, $class;
    my $t = $self->{t};

    $t->postgres;
    $t->redis;
    $t->usherd;
    $t->ctl(qw(org create name=acme));
    $t->ctl(qw(plan create name=pro));
    $t->ctl(qw(plan policy_set plan=pro name=rps quota=1000000 window=1
        burst=1000000));

    return $self;
}


sub key ($self) {
    return $self->{key} //=
        $self->{t}->ctl(qw(key create org=acme plan=pro))->{key};
}


sub nginx ($self, $name, %part) {
    my $t = $self->{t};
    my $server = $self->{contest}->nginx($name, usher => 1, %part,
        http => <<~END);
            usher_zone @{[ $part{zone} // '64m' ]};
            usher_node $name;
            usher_redis %%REDIS%%;
            @{[ $part{journal} // '' ]}
            END

    my $end = time + 20;

    until ($t->on($name)->get($Contest::PATH,
        'X-API-Key' => $self->key)->status == 200)
    {
        die "$name knows no key: " . $t->on($name)->error_log
            if time > $end;
        sleep 0.1;
    }

    return $server;
}


sub usher_auth ($self) {
    return $self->nginx('usher_auth', location => <<~END);
        usher_auth on;
        END
}


sub usher_limit ($self) {
    return $self->nginx('usher_limit', location => <<~END);
        usher_auth on;
        usher_limit plan;
        END
}


sub usher_journal ($self, %part) {
    mkdir "$self->{t}{dir}/journal";
    chown $self->{t}{uid}, -1, "$self->{t}{dir}/journal";

    return $self->nginx('usher_journal', %part,
        journal => "usher_journal $self->{t}{dir}/journal size=1g "
            . 'segment=16m window=64m sync=1s retain=1h;',
        location => <<~END);
            usher_auth on;
            usher_limit plan;
            usher_route articles;
            END
}


# What was journalled has to be rows, or the bench measured something else.

sub settled ($self) {
    my $t = $self->{t};
    my ($rows, $last, $since) = (0, -1, time);

    while (time - $since < 3) {
        $rows = $t->sql('select count(*) from usher.request');
        ($last, $since) = ($rows, time) if $rows != $last;
        sleep 0.2;
    }

    die "nothing arrived in PostgreSQL\n" if !$rows;

    return $rows;
}


1;
