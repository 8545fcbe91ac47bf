package Usher::Race;

# Two sessions that do something to the same thing at the same moment.
#
#     use Usher::Race;
#
#     both($t, 'commit', $first, $second)
#
# The first calls and leaves its transaction open, the second calls and has to
# wait, the first ends (commit or rollback).  What the first got, and what the
# second got or the SQLSTATE of its error.

use v5.36;

use DBD::Pg ':async';
use DBI;
use Exporter qw(import);

our @EXPORT = qw(both);


sub both ($t, $end, $first, $second) {
    my $dsn = $t->dsn =~ tr/ /;/r;
    my ($one, $two) = map { DBI->connect("dbi:Pg:$dsn", '', '',
                                         { RaiseError => 1, PrintError => 0 }) }
                      1, 2;
    my ($pid) = $two->selectrow_array('select pg_backend_pid()');

    $one->begin_work;
    my ($made) = $one->selectrow_array($first);

    my $st = $two->prepare($second, { pg_async => PG_ASYNC });
    $st->execute;

    $t->wait_for(sub {
        $t->sql("select count(*) from pg_stat_activity
                 where pid = ? and wait_event_type = 'Lock'", $pid)
    }, 'the second waits');

    $one->$end;

    my @got = eval { $two->pg_result; 1 } ? $st->fetchrow_array : $two->state;

    $st->finish;
    $_->disconnect for $one, $two;

    return ($made, @got);
}

1;
