package Usher::Secret;

# Key files, and secrets as they are in the database and as they were given.
# A row is named as usher_secret.h has it: kind/org/name.
#
#     key_file($t, 'new', 'old');         # usherctl takes it from now on
#     edge_keys($t);                      # and usher_key_file %%DIR%%/keys
#     click_key($t);                      # both, and a first click key
#     put($t, 'network/acme/awin', 's3cret');
#     plain($t, 'network/acme/awin');     # opened by that file

use strict;
use warnings;

use Exporter 'import';
use Usher::Test::Process 'owner';

our @EXPORT = qw(call click_key edge_keys id_of key_file key_of plain put sealed
                 status);


# By util/keygen: a new key, and behind it those of another file.

sub key_file {
    my ($t, @names) = @_;

    my @files = map { $t->dir . "/$_" } @names;

    system($t->top . '/util/keygen', @files) == 0 or die "no key file\n";

    return $ENV{USHER_KEY_FILE} = $files[0];
}


# A node's own copy of usherctl's, in its directory.

sub edge_keys {
    my ($t, $node) = @_;

    my $file = $t->write_file(($node // $t->{node}) . '/keys',
                              Usher::Test::slurp($ENV{USHER_KEY_FILE}));

    chmod 0600, $file;
    chown owner(), $file;

    return $file;
}


sub click_key {
    my ($t) = @_;

    key_file($t, 'keys');
    edge_keys($t);

    return $t->ctl('click_key rotate')->{key};
}


# The id of a file's first key.

sub id_of {
    my ($file) = @_;

    return (Usher::Test::slurp($file) =~ /^(\d+) /m)[0];
}


# Arguments of a secret's row.

sub call {
    my ($verb, $row, @args) = @_;

    my ($kind, $org, $name) = split m{/}, $row;

    return ('secret', $verb, "kind=$kind", "name=$name",
            $org eq '' ? () : "org=$org", @args);
}


sub put {
    my ($t, $row, $secret) = @_;

    return $t->ctl(call('put', $row,
                        'value=@' . $t->write_file('secret', $secret)));
}


sub column {
    my ($t, $row, $what) = @_;

    return scalar $t->sql("select $what
        from usher.secret s left join usher.org o on o.id = s.org_id
        where concat(s.kind, '/', o.name, '/', s.name) = ?", $row);
}


sub sealed { column(@_, 'usher.sealed_text(ciphertext)') }
sub key_of { column(@_, 'key_id') }


# What it is; with what it opens, as another row.

sub plain {
    my ($t, $row, $sealed) = @_;

    my $in = $t->write_file('sealed', $sealed // sealed($t, $row));

    return scalar `$t->{build}/unseal '$ENV{USHER_KEY_FILE}' '$row' < '$in'`;
}


# ok, unknown or corrupt, as usher_secret_open says it.

sub status {
    my ($t, $row, $sealed) = @_;

    plain($t, $row, $sealed);

    return { 0 => 'ok', 4 => 'unknown', 5 => 'corrupt' }->{$? >> 8} // $? >> 8;
}


1;
