# kill -9 of workers under load: a postback that was answered is a row,
# without exception; repeated, as networks do, it is one.

use lib 't/lib';
use Usher::Postback;
use Usher::Test;

use IO::Socket::INET;


my $t = Usher::Test->new;

world($t, workers => 2);

my $net = postback($t, 'name=net network=net');
my $port = $t->port('edge1');
my $stop = $t->dir . '/stop';
my @clients;

# eight networks that send each postback until it is answered, and every third
# once more

for my $client (1 .. 8) {
    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        open my $write, '>', $t->dir . "/answered.$client";

        my ($socket, $again);

        for (my $n = 1; !-e $stop; ) {
            $socket //= IO::Socket::INET->new("127.0.0.1:$port") or next;
            print $socket "GET $net&transaction_id=$client.$n HTTP/1.1\r\n"
                . "Host: localhost\r\n\r\n";

            my $answer = '';
            1 while $answer !~ /\r\n\r\nOK$/
                && sysread $socket, $answer, 4096, length $answer;

            if ($answer !~ /^HTTP\/1.1 200 .*\r\n\r\nOK$/s) {
                $socket = undef;
                next;
            }

            print $write "$client.$n\n";

            $again = $n % 3 == 0 && !$again;
            $n++ if !$again;
        }

        close $write;
        POSIX::_exit(0);
    }

    push @clients, $pid;
}

my $killed = 0;

while ($killed < 6) {
    select undef, undef, undef, 0.3;

    my ($worker) = $t->workers or next;

    $killed += kill 'KILL', $worker;
}

$t->write_file('stop', '');
waitpid $_, 0 for @clients;

my %answered = map { $_ => 1 }
               map { split /\n/, $t->slurp($t->dir . "/answered.$_") } 1 .. 8;

cmp_ok(keys %answered, '>', 200, 'postbacks were answered');

$t->wait_for(sub {
    my %row = map { $_ => 1 } @{ $t->db->selectcol_arrayref(
        'select transaction_id from usher.conversion_event') };

    return !grep { !$row{$_} } keys %answered;
}, 'each of them is a row', 60);

is($t->sql('select count(*) - count(distinct transaction_id)
            from usher.conversion_event'), 0, 'and none is twice');
cmp_ok($t->sql('select sum(losers) from usher.journal'), '>', 20,
       'though they came again');
is($t->sql('select count(*) from usher.journal_gap'), 0, 'no gaps');
$t->wait_for(sub { $t->sql("select api.journal_verify()->>'ok'") eq 'true' },
             'the books balance');

done_testing();
