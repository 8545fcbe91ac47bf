
# A heartbeat tells nothing while changes stand before it that were not read:
# a server that has always more of them is as good as silent.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;
use Usher::Key;

use IO::Select;
use IO::Socket::UNIX;


my $t = Usher::Test->new;
my $lineage = '00000000000000a1';
my $path = $t->dir . '/false.sock';
my $listen = IO::Socket::UNIX->new(Local => $path, Listen => 16)
    or die "$path: $!\n";
chmod 0777, $path;


# What is put into RESP: a list, a text, a number.

sub resp {
    my ($what) = @_;

    return ref $what ? join '', '*', scalar @$what, "\r\n", map { resp($_) }
                                                            @$what
                     : '$' . length($what) . "\r\n$what\r\n";
}


# A server that has a sign of life with each look, a record of every key, and
# as many changes as are asked for, once there is the file that says so.

my ($beat, $more) = (0, $t->dir . '/more');

sub answer {
    my ($command, @args) = @_;

    return "+PONG\r\n" if $command eq 'PING';
    return resp('maxmemory_policy:noeviction') if $command eq 'INFO';
    return resp([]) if $command eq 'XREVRANGE';
    return resp([ "$lineage " . ++$beat, $lineage ]) if "@args" =~ /heartbeat/;

    if ($command eq 'XREAD') {
        return "*-1\r\n" unless -e $more;

        my ($id) = $args[-1] =~ /^(\d+)/;

        return resp([ [ 'usher:changes', [
            map { [ $_ . '-0', [ 'l', $lineage, 'k', 'plan', 'i', 7 ] ] }
                $id + 1 .. $id + $args[1] ] ] ]);
    }

    return resp([ $lineage, map { qq({"v":1,"l":"$lineage","id":1,"org_id":1,)
                  . '"org":"a","plan_id":null,"exp":null,"scope":"",'
                  . '"allow":"","state":"active"}' } @args[1 .. $#args] ]);
}

sub serve {
    my ($test) = @_;
    my $select = IO::Select->new($listen);
    my %buffer;

    while (getppid == $test) {
        for my $c ($select->can_read(1)) {
            if ($c == $listen) {
                $select->add($c->accept);
                next;
            }
            if (!sysread $c, $buffer{$c}, 65536, length($buffer{$c} // '')) {
                $select->remove($c);
                delete $buffer{$c};
                next;
            }
            while ($buffer{$c} =~ s/^(\*\d+\r\n(?:\$\d+\r\n.*\r\n)*?)
                                     (?=\*|\z)//x)
            {
                syswrite $c, answer($1 =~ /\$\d+\r\n(.*)\r\n/g);
            }
        }
    }
}


my $test = $$;
my $server = fork // die "fork: $!\n";

if ($server == 0) {
    serve($test);
    kill 'KILL', $$;
}

$t->nginx(<<"END", workers => 1);
usher_zone   1m;
usher_redis  unix:$path;
usher_stale  key 1s;
server {
    listen 127.0.0.1:%%PORT%%;
    location / {
        usher_auth on;
        usher_event off;
        root %%DIR%%;
    }
}
END
$t->write_file('edge1/file', 'hello');

my $key = { key => Usher::Key::text() };

$t->wait_for(sub { status($t, $key) == 200 }, 'admitted');
$t->write_file('more', '');
$t->wait_for(sub { status($t, $key) == 503 }, 'ever more changes: stale');
$t->wait_for(sub { $t->error_log =~ /no sign of life of usherd/ }, 'said');
unlink $more;
$t->wait_for(sub { status($t, $key) == 200 }, 'all of them read');

kill 'KILL', $server;
done_testing();
