package Usher::Key;

# API keys and their records in Redis, written as usherd's directory writes
# them, for tests of the edge that need no PostgreSQL.
#
#     my $d = Usher::Key->new($t);        # $t->redis runs
#     my $key = $d->key(scope => 'read', plan_id => 3);
#     $d->plan(3, 'pro', { name => 'rps', quota => 10, window => 1,
#                          burst => 20 });
#     $d->change($key, state => 'revoked');
#     $d->change($key, soft => 1, scope => 'read');

use strict;
use warnings;

use Compress::Zlib ();
use Digest::SHA ();
use JSON::PP ();

my @base62 = (0 .. 9, 'A' .. 'Z', 'a' .. 'z');
my $lineage = '00000000000000a1';


sub new {
    my ($class, $t) = @_;

    my $self = bless { t => $t, version => 1, id => 100, change => 0,
                       records => {} }, $class;

    $t->redis_cli('set', 'usher:d:ready', $lineage);
    $self->beat;

    return $self;
}


sub beat {
    my ($self) = @_;

    $self->{t}->redis_cli('set', 'usher:heartbeat',
                          "$lineage " . ++$self->{beats});
}


# The text of a key that nobody knows.

sub text {
    my ($brand, $env) = @_;

    my $head = ($brand // 'us') . '_' . ($env // 'live') . '_'
               . join '', map { $base62[rand 62] } 1 .. 30;

    return $head . checksum($head);
}


sub checksum {
    my $crc = Compress::Zlib::crc32($_[0]);
    my $sum = '';

    for (1 .. 6) {
        $sum = $base62[$crc % 62] . $sum;
        $crc = int($crc / 62);
    }

    return $sum;
}


sub key {
    my ($self, %record) = @_;

    my $text = text('us', delete $record{env});

    $self->{records}{$text} = {
        id => $self->{id}++, org => 'acme', org_id => 5, plan_id => undef,
        scope => '', allow => '', exp => undef, state => 'active', %record
    };

    $self->write('key', Digest::SHA::sha256_hex($text),
                 $self->{records}{$text});

    return $text;
}


sub change {
    my ($self, $text, %record) = @_;

    my $digest = Digest::SHA::sha256_hex($text);
    my $soft = delete $record{soft};

    $self->{records}{$text} = { %{ $self->{records}{$text} }, %record };
    $self->write('key', $digest, $self->{records}{$text});
    $self->announce('key', $digest, $soft);
}


sub plan {
    my ($self, $id, $name, @policies) = @_;

    my $n = 0;

    $self->write('plan', $id, { id => $id, name => $name, policies => [
        map { { scope => 'key', bucket => $n++, %$_ } } @policies
    ] });
    $self->announce('plan', $id);
}


sub write {
    my ($self, $kind, $id, $record) = @_;

    my $json = JSON::PP->new->canonical->encode(
        { v => ++$self->{version}, l => $lineage, %$record });

    $self->{t}->redis_cli('set', "usher:d:$kind:$id", $json);
}


sub announce {
    my ($self, $kind, $id, $soft) = @_;

    $self->{t}->redis_cli('xadd', 'usher:changes', ++$self->{change} . '-0',
                          'l', $lineage, 'k', $kind, 'i', $id,
                          $soft ? () : ('x', '1'));
}


1;
