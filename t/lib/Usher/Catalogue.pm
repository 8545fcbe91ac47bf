package Usher::Catalogue;

# The catalogue's functions in a database session, called as usherctl does it
# and undone: for what a whole catalogue of calls is held against.
#
#     use Usher::Catalogue;
#
#     ask($t, 'ann', 'org_show', org => 'acme')    the answer, or the SQLSTATE
#     refused($t, $sql)                 what refuses it, '' if nothing does
#     functions($t, qr/^org_/)          { org_show => { changes, arguments } }

use v5.36;

use Exporter qw(import);
use JSON::PP ();

our @EXPORT = qw(ask functions refused);

my $json = JSON::PP->new->allow_nonref;


sub ask ($t, $actor, $function, %args) {
    my @names = sort keys %args;

    $t->db->begin_work;
    $t->sql("select set_config('usher.actor', ?, true)", $actor);

    my $answer = eval { $json->decode(scalar $t->sql("select api.$function("
        . join(', ', map { qq{"$_" => ?} } @names) . ')', @args{@names})) };
    my $state = $t->db->state;

    $t->db->rollback;

    return $answer // $state;
}


sub refused ($t, $sql, @bind) {
    $t->db->begin_work;

    my $error = eval { $t->sql($sql, @bind); 1 } ? '' : $@;

    $t->db->rollback;

    return $error;
}


sub functions ($t, $which) {
    return { map { $_->{name} => $_ } grep { $_->{name} =~ $which }
             @{ $json->decode(scalar $t->sql('select api.catalogue()')) } };
}

1;
