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
    my $server = $self->{contest}->nginx($name, %part);

    $t->await("$name to know its key", sub {
        $t->on($name)->get($Contest::PATH, 'X-API-Key' => $self->key)->status
            == 200;
    });

    return $server;
}


sub usher_auth ($self) {
    return $self->nginx('usher_auth', keep =>
        [qw(usher_zone usher_node usher_redis usher_auth)]);
}


sub usher_limit ($self, %part) {
    return $self->nginx($part{name} // 'usher_limit', %part, keep =>
        [qw(usher_zone usher_node usher_redis usher_auth usher_limit)]);
}


sub usher_journal ($self, %part) {
    return $self->nginx('usher_journal', %part, keep =>
        [qw(usher_zone usher_node usher_redis usher_auth usher_limit
            usher_journal usher_route)]);
}


# What was journalled has to be rows, or the bench measured something else.

sub settled ($self, $requests) {
    my $t = $self->{t};
    my $rows;

    $t->await("$requests rows", sub {
        sleep 0.2;
        $rows = $t->sql('select count(*) from usher.request');
        return $rows >= $requests;
    }, 60);

    return $rows;
}


1;
