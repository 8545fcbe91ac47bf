package Links;

# The parts of util/bench that are about links: links, what a redirect costs;
# many, a million of them.  They are methods of Measure.

use v5.36;
use utf8;

use List::Util qw(sum);
use POSIX qw(ceil);
use Time::HiRes qw(sleep time);

use Contest;
use Feed;
use Usher::Secret qw(edge_keys key_file);
use Ushers;

our $PATH = '/to/';      # usher-run.conf has /go/
our $SLUG = 'lighthouse';
our $QUERY = '?sub1=newsletter-48&utm_content=footer&lang=en';
our $TARGET = 'https://shop.example.com/products/maritime/lighthouse-keepers';

# Each does what the one before does, and more; what is added later is a line
# here: name, text, the link, directives of http and of the location.

my @LINKS = (
    [ return_302 => 'nginx `return 302`' ],
    [ beside_302 => 'nginx `return 302`, while as many clicks are stored '
        . 'beside it' ],
    [ link_lookup => 'usher: looked up and redirected', slug => 'plain' ],
    [ link => 'usher: plain link, journalled, shipped and flushed',
        slug => 'plain' ],
    [ link_agent => '... and who asks: bots, device, system',
        slug => 'plain', http => 'usher_bots file=@DIR@/bots.list;' ],
    [ link_where => '... and country, data centre',
        slug => 'plain',
        http => 'geo $country { default DE; 192.0.2.0/24 FR; }'
            . 'geo $centre { default 0; 198.51.100.0/24 1; }',
        location => 'usher_link_country $country; '
            . 'usher_link_datacentre $centre;' ],
    [ link_rules => '... and targets by country and device, split by weight',
        slug => 'rules' ],
    [ link_query => '... and query, UTM and macros', slug => 'all' ],
    [ link_id => '... and a signed id', slug => 'all',
        http => 'usher_key_file @DIR@/keys;' ],
    [ link_all => '... and the visitor, for duplicates: everything on',
        slug => 'all', location => 'usher_link_visitor on;' ],
    [ lua_link => 'the plain link in Lua, Redis GET and XADD' ],
);


# The contestants, in one run.

sub Measure::links ($self) {
    my %only = map { $_ => 1 } split /,/, $self->{only} // '';
    my @names = grep { !%only || $only{ $_->[0] } } @LINKS;
    my $t = $self->world;
    my $contest = Contest->new(t => $t, here => $self->{here});
    my $usher = Ushers->new(t => $t, contest => $contest);
    my (%server, %load);

    catalogue($t);

    for my $row (@names) {
        my ($name, $text, %opt) = @$row;
        my $slug = $opt{slug} // 'plain';

        $load{$name} = { path => "$PATH$slug$QUERY", status => 302,
            polls => 1 };
        $server{$name} = $name =~ /302/ ? nginx_302($contest, $name)
            : $name =~ /lua/ ? lua_link($self, $contest, $name)
            : usher_link($t, $contest, $name, added($name));
        $t->await("$name to know its link", sub {
            $self->load($server{$name}, %{ $load{$name} }, requests => 16,
                any => 1)->{status}{302};
        });
        $self->load($server{$name}, %{ $load{$name} });
    }

    beside($self, $server{beside_302}) if $server{beside_302};

    my $idle = $self->idle($contest, \%server);
    my $pieces = $self->rounds($contest, \%server, 1, %load);

    settled($t, sum map { $self->{sent}{$_} // 0 }
        grep { $server{$_} && /^link/ && $_ ne 'link_lookup' } keys %server);
    links_table($self, \@names, $pieces, $idle);
    $t->stop_all;
}


# What a contestant has: all that is added up to it.

sub added ($name) {
    my %part = (http => '', location => '');

    for my $row (@LINKS) {
        my ($one, undef, %opt) = @$row;

        $part{$_} .= $opt{$_} // '' for keys %part;
        last if $one eq $name;
    }

    return %part;
}


sub catalogue ($t) {
    key_file($t, 'keys');
    $t->ctl('click_key rotate');
    $t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
    $t->sql('select api.link_add(host => ?, slug => ?, url => ?)', 'localhost',
        $_, $TARGET) for qw(plain rules);
    $t->sql('select api.link_add(host => ?, slug => ?, url => ?, query => true, '
        . 'utm => ?)', 'localhost', 'all', "$TARGET?click={click_id}&s={sub1}",
        'utm_source={country}&utm_medium={device}');

    for my $slug (qw(rules all)) {
        my $query = $slug eq 'all' ? '?click={click_id}&s={sub1}' : '';

        $t->sql('select api.link_target_set(host => ?, slug => ?, '
            . 'target => ?, url => ?, step => ?, weight => ?, country => ?, '
            . 'device => ?)', 'localhost', $slug, @$_)
            for [ 'fr', "$TARGET/fr$query", 1, 1, 'FR BE', '' ],
                [ 'phone', "$TARGET/m$query", 2, 1, '', 'mobile' ],
                [ 'a', "$TARGET/a$query", 3, 70, 'DE AT CH', 'desktop' ],
                [ 'b', "$TARGET/b$query", 3, 30, 'DE AT CH', 'desktop' ];
    }
}


sub place ($text) {
    return "location ~ ^$PATH(?<slug>.+)\$ {\n$text\n}\n";
}


sub nginx_302 ($contest, $name) {
    return $contest->nginx($name, server => place("return 302 $TARGET;"));
}


sub usher_link ($t, $contest, $name, %part) {
    $t->write_file("$name/bots.list", $t->slurp($t->top . '/conf/bots.list'));
    edge_keys($t, $name) if $part{http} =~ /usher_key_file/;
    $part{location} .= 'usher_link_visitor off;'
        if $part{location} !~ /usher_link_visitor/;

    return $contest->nginx($name,
        http => $part{http} =~ s/\@DIR\@/$t->{dir}\/$name/gr,
        zone => $part{zone},
        keep => [ qw(usher_zone usher_node usher_redis),
            $name eq 'link_lookup' || $part{quiet} ? () : 'usher_journal' ],
        server => place("usher_link \$slug; $part{location}"));
}


sub lua_link ($self, $contest, $name) {
    my $t = $self->{t};

    $t->redis(name => 'lua');
    $t->redis_cli({ name => 'lua' }, 'set', 'link:localhost/plain',
        "1 1 302 $TARGET") eq 'OK' or die "redis-cli failed\n";
    $t->write_file('lua/link.lua', $t->slurp("$self->{here}/link.lua"));

    return $contest->nginx($name,
        modules => [qw(ndk_http_module ngx_http_lua_module)],
        http => <<~END, server => place('content_by_lua_block { link.go() }'));
            lua_package_path "$t->{dir}/lua/?.lua;;";
            init_by_lua_block {
                link = require "link"
                link.socket = "unix:$t->{dir}/lua.sock"
            }
            END
}


sub beside ($self, $server) {
    my $requests = $self->{requests} * ($self->{pieces} + $Measure::WARM);

    $server->{feed} = Feed->new($self->{t}, table => 'click',
        requests => $requests, rounds => $self->{rounds});
    $server->{seconds} = 0.5;
    $self->{sent}{link} += $self->{rounds} * $requests;
}


sub settled ($t, $clicks) {
    $t->await("$clicks clicks", sub {
        sleep 0.2;
        $t->sql('select count(*) from usher.click') >= $clicks;
    }, 60);
}


# per CPU second: how many requests it answers of those that nginx does

sub links_table ($self, $names, $pieces, $idle) {
    my %of = map { $_ => $self->figures($pieces->{$_}) } keys %$pieces;
    my $plain = $of{return_302} // die "return_302 must be among the names\n";
    my $before;

    $self->heading('CPU time of the worker per redirect');
    printf "%s. One worker with a CPU of its own; %d rounds, alternating, of "
        . "%d pieces\nof %d requests each; pieces in which nobody else was on "
        . "the CPU's core.\n\n", $self->machine,
        @$self{qw(rounds pieces requests)};
    print "| | us | middle half | over the row before, ns | over `return 302`, "
        . "us | per CPU second | pieces | idle, us/s |\n"
        . "|---|---:|---:|---:|---:|---:|---:|---:|\n";

    for my $row (@$names) {
        my ($name, $text) = @$row;
        my $quiet = $of{$name}{quiet};
        my $mean = Measure::mean(@$quiet);

        printf "| %s | %.2f | %.2f to %.2f | %s | %s | %.2f | %d | %.0f |\n",
            $text, Measure::median(@$quiet), Measure::spread(@$quiet),
            $name =~ /^link/ && defined $before
                ? sprintf('%+.0f', 1000 * ($mean - $before)) : '',
            $name eq 'return_302' ? ''
                : Measure::difference($of{$name}, $plain),
            Measure::mean(@{ $plain->{quiet} }) / $mean, scalar(@$quiet),
            $idle->{$name};
        $before = $mean if $name ne 'beside_302';
    }

    print "\n";
    printf "A plain link against the nginx that has as many clicks stored "
        . "beside it: %.2f\nper CPU second; against Lua: %.1f times as many.\n\n",
        map { $of{$_} ? Measure::mean(@{ $of{$_}{quiet} })
                        / Measure::mean(@{ $of{link}{quiet} }) : 0 }
        qw(beside_302 lua_link) if $of{link};
}


# ---- many: a million links ----


sub Measure::many ($self) {
    my $t = $self->world;
    my $contest = Contest->new(t => $t, here => $self->{here});
    my $usher = Ushers->new(t => $t, contest => $contest);
    my $n = $self->{keys} // 1_000_000;
    my @sizes = (1000, $n);
    my (%server, $first);

    $t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
    $self->heading(sprintf '%d links', $n);
    imported($self, $n);

    my %zone = (1000 => '8m records=85%');

    for my $size (@sizes) {
        slugs($t, "$t->{dir}/slugs$size.txt", $size);
        $server{$size} = usher_link($t, $contest, "links$size", quiet => 1,
            location => '', http => '', zone => $zone{$size});
        warm($self, $server{$size}, $size);
        $zone{$n} = zone_for($t, $server{1000}, $n) if $size == 1000;
    }

    my $pieces = $self->rounds($contest, \%server, 0, map { $_ => {
        urls => "$t->{dir}/slugs$_.txt", path => $PATH, status => 302,
        polls => 1 } } @sizes);

    print "| links | us | middle half | ratio | bytes of blocks per link |\n"
        . "|---:|---:|---:|---:|---:|\n";

    for my $size (@sizes) {
        my @own = @{ $self->figures($pieces->{$size})->{quiet} };

        $first //= Measure::mean(@own);
        printf "| %d | %.2f | %.2f to %.2f | %.2f | %.0f |\n", $size,
            Measure::median(@own), Measure::spread(@own),
            Measure::mean(@own) / $first, per_link($t, $server{$size}, $size);
    }

    print "\n";
    $t->stop("links$_") for @sizes;
    tenth($self, $contest, $n, $server{1000});
    $t->stop_all;
}


# From the file to the last record in Redis.

sub imported ($self, $n) {
    my $t = $self->{t};
    my $file = "$t->{dir}/links.csv";
    my $start;

    open my $out, '>', $file or die "$file: $!\n";
    print $out "host,slug,url,title\n";
    print $out "localhost,", slug($_), ",$TARGET/$_?click={click_id},Item $_\n"
        for 1 .. $n;
    close $out or die "$file: $!\n";

    $start = time;
    my $told = $t->ctl("link import csv=\@$file");
    my $import = time - $start;

    die "not all were imported\n" if $told->{added} != $n;

    $start = time;
    $t->await('the directory', sub {
        !$t->sql('select count(*) from usher.directory_outbox');
    }, 600);

    printf "`link import` of %d lines (%.0f MB): %.1f s; until the last record "
        . "is in\nRedis another %.1f s, %.0f a second.\n\n", $n,
        (-s $file) / 1e6, $import, time - $start, $n / (time - $start);
    unlink $file;
}


sub slug ($i) {
    return sprintf 'p%07d', $i;
}


sub slugs ($t, $file, $n) {
    open my $out, '>', $file or die "$file: $!\n";
    print $out slug($_), "\n" for 1 .. $n;
    close $out;
    chmod 0644, $file;
}


# Every link once.  Beyond the budget of misses the directory asks in bulk.

sub warm ($self, $server, $n) {
    for (1 .. 20) {
        my $result = $self->load($server, path => $PATH, in_order => 1,
            urls => "$self->{t}{dir}/slugs$n.txt", requests => $n,
            connections => 512, any => 1);

        return if ($result->{status}{302} // 0) == $n;
    }

    die "$server->{name}: not all links became known\n";
}


sub zone ($t, $server) {
    return $t->on($server->{name})->get('/usher/status')->json->{zone};
}


# What its blocks take of the zone.

sub per_link ($t, $server, $n) {
    my $records = zone($t, $server)->{records};

    return $records->{bytes} / $records->{cells} * $records->{used} / $n;
}


# A zone whose blocks are 80 % full with as many links as this one has, n / 1000
# times.

sub zone_for ($t, $server, $n) {
    my $zone = zone($t, $server);
    my $records = $zone->{records};
    my $bytes = $records->{bytes} / $records->{cells} * $n
        * $records->{used} / 1000 / 0.8;

    return ceil($bytes * $zone->{bytes} / $records->{bytes} / 1024)
        . 'k records=85%';
}


# A zone for a tenth of them, asked for by Zipf's law: the k-th with a
# probability of 1/k.

sub tenth ($self, $contest, $n, $small) {
    my $t = $self->{t};
    my $file = "$t->{dir}/zipf.txt";
    my ($requests, $rate) = (100_000, 5000);

    $t->start('links1000');
    warm($self, $small, 1000);

    my $zone = zone_for($t, $small, $n / 10);
    my $server = usher_link($t, $contest, 'tenth', quiet => 1, location => '',
        http => "set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;\n",
        zone => $zone);

    zipf($file, $n, 4 * $requests);

    my %load = (path => $PATH, urls => $file, addresses => 1, any => 1,
        requests => $requests, connections => 64);

    $self->load($server, %load, requests => 2 * $requests);

    my %was = (counters($t, $server), mget => gets($t));
    my $result = $self->load($server, %load, rate => $rate);
    my %is = (counters($t, $server), mget => gets($t));
    my ($misses, $gets) = map { $is{$_} - $was{$_} } qw(directory_misses mget);

    $gets -= 10 * $requests / $rate;    # usherd's own, ten a second

    printf "A zone for a tenth of them (%s), %d requests at %d a second, Zipf "
        . "1.0:\n\n", $zone =~ s/ .*//r, $requests, $rate;
    print "| hit ratio | misses | MGETs | MGETs per request | ids per MGET | "
        . "p50, us | p99, us |\n|---:|---:|---:|---:|---:|---:|---:|\n";
    printf "| %.3f | %d | %d | %.3f | %.2f | %d | %d |\n\n",
        1 - $misses / $requests, $misses, $gets, $gets / $requests,
        $gets ? $misses / $gets : 0, @{ $result->{us} }{qw(p50 p99)};
    die "not all were redirected\n"
        if ($result->{status}{302} // 0) != $requests;
}


sub zipf ($file, $n, $lines) {
    my @sum;
    my $total = 0;

    push @sum, $total += 1 / $_ for 1 .. $n;
    open my $out, '>', $file or die "$file: $!\n";

    for (1 .. $lines) {
        my ($x, $low, $high) = (rand $total, 0, $n - 1);

        while ($low < $high) {
            my $middle = int(($low + $high) / 2);

            if ($sum[$middle] < $x) { $low = $middle + 1 }
            else { $high = $middle }
        }

        # those that are asked for often lie anywhere

        print $out slug(1 + ($low * 7919) % $n), "\n";
    }

    close $out;
    chmod 0644, $file;
}


sub counters ($t, $server) {
    return %{ $t->on($server->{name})->get('/usher/status')->json
        ->{counters} };
}


# How many MGETs Redis has seen.

sub gets ($t) {
    my ($calls) = $t->redis_cli('info', 'commandstats')
        =~ /^cmdstat_mget:calls=(\d+)/m;

    return $calls // 0;
}


1;
