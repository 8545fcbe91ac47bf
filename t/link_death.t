# kill -9 of workers under load: a click that was answered is a row, without
# exception, and none is twice.

use lib 't/lib';
use Usher::Test;
use Usher::Secret;

use IO::Socket::INET;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;
click_key($t);

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => 'a', "
    . "url => 'https://shop.example/')");

$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_key_file %%DIR%%/keys;
    usher_journal %%DIR%%/journal size=64m segment=1m;

    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 100000;

        location ~ ^/(?<slug>.*)$ {
            usher_link $slug;
        }
    }
CONF

$t->wait_for(sub { $t->get('/a')->status == 302 }, 'a link is known');

# eight clients, each with an id in each click; a new connection after each
# that was lost

my $port = $t->port('edge1');
my $stop = $t->dir . '/stop';
my @clients;

for my $client (1 .. 8) {
    my $pid = fork // die "fork: $!";

    if ($pid == 0) {
        open my $write, '>', $t->dir . "/answered.$client";

        my $socket;

        for (my $n = 1; !-e $stop; $n++) {
            $socket //= IO::Socket::INET->new("127.0.0.1:$port") or next;
            print $socket "GET /a?sub1=$client.$n HTTP/1.1\r\n"
                . "Host: localhost\r\n\r\n";

            my $answer = '';
            1 while $answer !~ /\r\n\r\n/
                && sysread $socket, $answer, 4096, length $answer;

            if ($answer =~ /^HTTP\/1.1 302 .*\r\n\r\n$/s) {
                print $write "$client.$n\n";

            } else {
                $socket = undef;
            }
        }

        close $write;
        POSIX::_exit(0);
    }

    push @clients, $pid;
}

my $killed = 0;

while ($killed < 6) {
    select undef, undef, undef, 0.15;

    my ($worker) = $t->workers or next;

    $killed += kill 'KILL', $worker;
}

$t->write_file('stop', '');
waitpid $_, 0 for @clients;

my @answered = map { split /\n/, $t->slurp($t->dir . "/answered.$_") } 1 .. 8;

cmp_ok(@answered, '>', 1000, 'clicks were answered');

$t->wait_for(sub {
    my %row = map { $_ => 1 } @{ $t->db->selectcol_arrayref(
        "select sub1 from usher.click where sub1 <> ''") };

    return !grep { !$row{$_} } @answered;
}, 'each of them is a row', 60);

is($t->sql('select count(*) - count(distinct click_id) from usher.click'), 0,
   'and none is twice');
is($t->sql("select count(*) - count(distinct sub1) from usher.click "
    . "where sub1 <> ''"), 0, 'by the clients\' own ids');
is($t->sql('select count(*) from usher.journal_gap'), 0, 'no gaps');
$t->wait_for(sub { $t->sql("select api.journal_verify()->>'ok'") eq 'true' },
             'the books balance');

done_testing();
