package Usher::Cap;

# Nodes with links that have caps, and clicks on them.
#
#     my $t = capped('edge1', 'edge2');      # servers, org acme, two nodes
#     call($t, link_add => slug => 'a', cap => 5, ...);
#     is(to($t, 'edge1', 'a'), 'shop', 'where a click of a new visitor goes');
#
# URLs are https://<word>.example/; those of call() may be the word alone.

use strict;
use warnings;

use Exporter 'import';
use IO::Socket::INET;
use Usher::Test ();

our @EXPORT = qw(answer call capped click clicks counted crowd edge field_sum
                 hash_of known sends to told);


sub capped {
    my $t = servers();

    edge($t, $_) for @_;

    return $t;
}

sub servers {
    my $t = Usher::Test->new;

    $t->postgres;
    $t->redis(persistence => 1);
    $t->usherd;
    $t->sql("select api.org_create(name => 'acme')");
    $t->sql("select api.domain_add(host => 'localhost', org => 'acme')");

    return $t;
}


sub edge {
    my ($t, $name, %with) = @_;

    my $zone = $with{zone} // '4m';
    my $redis = $with{redis} // '%%REDIS%%';

    $t->nginx(<<"CONF", name => $name, workers => $with{workers} // 2);
    usher_node %%NODE%%;
    usher_zone $zone;
    usher_redis $redis;
    usher_journal %%DIR%%/journal size=64m segment=1m;

    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;

    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 1000000;

        location = /status { usher_status; }
        location = /metrics { usher_metrics; }
        location ~ ^/(?<slug>.*)\$ {
            add_header X-Reason \$usher_click_reason always;
            usher_link \$slug;
        }
    }
CONF
}


sub call {
    my ($t, $function, %with) = @_;

    $with{host} = 'localhost';
    $with{url} //= 'shop' if $function ne 'link_update';
    $_ = "https://$_.example/"
        for grep { defined && /^\w+$/ } @with{qw(url overflow fallback)};
    delete $with{$_} for grep { !defined $with{$_} } keys %with;

    my @names = sort keys %with;

    return $t->sql("select api.$function("
        . join(', ', map { "$_ => ?" } @names) . ')', @with{@names});
}


# A click of somebody who has not clicked before.

my $visitor = 0;

sub click {
    my ($t, $node, $slug, %with) = @_;

    $visitor++;

    my %headers = ('User-Agent' => 'Mozilla/5.0 (x)',
        'X-Real-IP' => '10.' . join('.', $visitor >> 16, $visitor >> 8 & 255,
                                    $visitor & 255), %with);

    return $t->on($node)->get("/$slug", %headers);
}

sub answer {
    my ($response) = @_;

    return ($response->header('Location') // '') =~ m{^https://(\w+)\.example/$}
           ? $1 : $response->status;
}

sub to { answer(click(@_)) }

# Where each of so many clicks went: "over=2 shop=3".

sub clicks {
    my ($t, $node, $slug, $n) = @_;
    my %to;

    $to{to($t, $node, $slug)}++ for 1 .. $n;

    return join ' ', map { "$_=$to{$_}" } sort keys %to;
}

# A link leads somewhere, as prefetches see, which do not count.

sub sends {
    my ($t, $node, $slug, $to, $what) = @_;

    return $t->wait_for(sub {
        answer(click($t, $node, $slug, 'Sec-Purpose' => 'prefetch')) eq $to;
    }, $what, 30);
}


# All nodes that are named have heard of all that was changed.

sub known {
    my ($t, @nodes) = @_;

    $t->wait_for(sub {
        return if $t->sql('select count(*) from usher.directory_outbox');

        my ($last) = $t->redis_cli('xrevrange usher:changes + - count 1');

        $last =~ s/-.*//;

        return !grep { $t->on($_)->get('/status')->json->{directory}{change}
                           < $last } @nodes;
    }, 'changes are known', 30);
}


# The key of a cap's hash: of a link, or one of its targets, or a day.

sub hash_of {
    my ($t, $slug, %with) = @_;

    my ($row) = $with{target}
        ? $t->rows('select l.id, t.number, (extract(epoch from t.cap_since)
                    * 1000)::bigint from usher.link l
                    join usher.link_target t on t.link_id = l.id
                    where l.slug = ? and t.name = ?', $slug, $with{target})
        : $t->rows('select id, 0, (extract(epoch from cap_since)
                    * 1000)::bigint from usher.link where slug = ?', $slug);

    return join ':', 'usher:cap', @$row, $with{day} // ();
}

# What Redis has of it, of all nodes.

sub field_sum {
    my ($t, $key) = @_;
    my $sum = 0;

    $sum += $_ for grep { /^\d+$/ } $t->redis_cli("hvals $key");

    return $sum;
}

sub told {
    my ($t, $slug, $n, $what, %with) = @_;

    return $t->wait_for(sub { field_sum($t, hash_of($t, $slug, %with)) == $n },
                        $what, 100);
}

# What link show says that was counted.

sub counted {
    my ($t, $slug, $what) = @_;

    return $t->sql("select api.link_show(host => 'localhost', slug => ?)->>?",
                   $slug, $what // 'counted');
}


# Clients that click as fast as they can, each on one of the nodes, each time
# as somebody else; returns a sub that ends them.

sub crowd {
    my ($t, $slug, $n, @nodes) = @_;

    my $stop = $t->dir . '/stop.' . ++$visitor;
    my @clients;

    for my $client (1 .. $n) {
        my $port = $t->port($nodes[$client % @nodes]);
        my $pid = fork // die "fork: $!";

        if ($pid == 0) {
            run_client($port, $slug, $stop, "10.$client", $visitor);
            POSIX::_exit(0);
        }

        push @clients, $pid;
    }

    return sub {
        $t->write_file($stop =~ s{.*/}{}r, '');
        waitpid $_, 0 for @clients;
    };
}

sub run_client {
    my ($port, $slug, $stop, $net, $agent) = @_;
    my $socket;

    for (my $n = 1; $n % 16 || !-e $stop; $n++) {
        $socket //= IO::Socket::INET->new("127.0.0.1:$port") or next;

        my $address = join '.', $net, $n >> 8 & 255, $n & 255;

        print $socket "GET /$slug HTTP/1.1\r\nHost: localhost\r\n"
            . "User-Agent: Mozilla/5.0 ($agent $n)\r\n"
            . "X-Real-IP: $address\r\n\r\n";

        my $answer = '';
        1 while $answer !~ /\r\n\r\n/
            && sysread $socket, $answer, 4096, length $answer;

        $socket = undef if $answer !~ /^HTTP\/1.1 30/;
    }
}


1;
