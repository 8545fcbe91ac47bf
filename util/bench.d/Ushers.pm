package Ushers;

# Usher among the contestants: a private PostgreSQL, Redis and usherd, one org,
# and nginx instances that do more and more of the job.

use v5.36;

use Compress::Zlib qw(crc32);
use Digest::SHA qw(sha256_hex);
use Time::HiRes qw(sleep time);


sub new ($class, %opt) {
    my $self = bless { %opt }, $class;
    my $t = $self->{t};

    $t->postgres;
    $t->redis;
    $t->usherd;
    $t->sql("select api.org_create(name => 'acme')");
    $t->sql("select api.plan_create(name => 'pro')");
    $t->sql("select api.plan_policy_set(plan => 'pro', policy => 'rps', "
        . 'quota => 1000000, "window" => 1, burst => 1000000)');

    return $self;
}


sub key ($self) {
    return $self->{key} //= $self->new_key;
}


sub new_key ($self) {
    return $self->{t}->sql("select api.key_create(org => 'acme', "
        . "plan => 'pro')->>'key'");
}


# A key of the right form.

sub made_up_key ($class) {
    my @digits = (0 .. 9, 'A' .. 'Z', 'a' .. 'z');
    my $key = 'usher_live_' . join '', map { $digits[rand 62] } 1 .. 30;
    my ($crc, $sum) = (crc32($key), '');

    for (1 .. 6) {
        $sum = $digits[$crc % 62] . $sum;
        $crc = int($crc / 62);
    }

    return $key . $sum;
}


# n keys in one statement, made here since their texts are needed: written to
# a file, one line each, and known to the directory when this returns.

sub many_keys ($self, $n, $file) {
    my $t = $self->{t};
    my $db = $t->db;
    my $plan = $t->sql("select id from usher.plan where name = 'pro'");
    my $org = $t->sql("select id from usher.org where name = 'acme'");

    open my $out, '>', $file or die "$file: $!\n";
    $db->do('copy usher.key (org_id, plan_id, digest) from stdin');
    for (1 .. $n) {
        my $key = $self->made_up_key;
        print $out "$key\n";
        $db->pg_putcopydata("$org\t$plan\t\\\\x" . sha256_hex($key) . "\n");
    }
    $db->pg_putcopyend;
    close $out;
    chmod 0644, $file;
    $t->await('the directory', sub {
        !$t->sql('select count(*) from usher.directory_outbox');
    }, 600);
}


sub nginx ($self, $name, %part) {
    my $t = $self->{t};
    my $server = $self->{contest}->nginx($name, usher => 1, %part,
        server => 'location = /usher/status { usher_event off; usher_status; }',
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


sub usher_limit ($self, %part) {
    return $self->nginx($part{name} // 'usher_limit', %part,
        location => <<~END);
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
