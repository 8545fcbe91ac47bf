package Usher::Health;

# Health of targets without anybody who is asked: what was found, and hours
# that pass.
#
#     collect($t)                      # all links are looked at
#     seen($t, $url, 404)              # "dead" or "alive" if it became so
#     seen($t, $url, 0, 'timeout')
#     hours($t, 1)                     # all that was found is so much older
#     dies($t, $url)                   # three times, hours between
#     health($t, $url)                 # its row, a hash

use v5.36;

use Exporter qw(import);

our @EXPORT = qw(collect dies health hours seen);


sub collect ($t) {
    1 while $t->sql("select (usher.health_collect()->>'links')::integer > 0");
}


sub health ($t, $url) {
    return $t->db->selectrow_hashref(
        'select h.*, usher.health_state(h) as state, '
        . 'extract(epoch from h.next_at - now()) as wait, '
        . "encode(h.digest, 'hex') as id from usher.health h where h.url = ?",
        undef, $url) // {};
}


sub seen ($t, $url, $status, $error = '') {
    return scalar $t->sql('select usher.health_seen(?, ?, ?)',
                          health($t, $url)->{id}, $status, $error);
}


sub hours ($t, $hours) {
    my $by = "interval '" . $hours * 3600 . " seconds'";

    $t->sql("update usher.health set next_at = next_at - $by, "
        . "checked_at = checked_at - $by, failed_at = failed_at - $by, "
        . "alive_at = alive_at - $by, dead_at = dead_at - $by");
    $t->sql("update usher.health_host set due_at = due_at - $by, "
        . "free_at = free_at - $by");
    $t->sql("update usher.health_state set began_at = began_at - $by, "
        . "cleaned_at = cleaned_at - $by, answered_at = answered_at - $by");
}


sub dies ($t, $url, $status = 404) {
    my $news;

    for (1 .. 3) {
        hours($t, 6);
        $news = seen($t, $url, $status);
    }

    return $news;
}


1;
