# Duty health asks real servers: HEAD, and where that is not answered well a
# GET of one byte; one request in a second to a host; nothing private, unless
# it may; nobody at all where it is switched off.

use lib 't/lib';
use Usher::Test;
use Usher::Health;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;

my @hosts = map { "127.0.0.$_" } 1 .. 9;
my $listen = join "\n", map { "listen $_:%%PORT%%;" } @hosts;

$t->nginx(<<"CONF");
    log_format asked '\$msec \$http_host \$request_method \$uri \$http_range '
                     '\$http_user_agent';

    server {
        $listen
        root %%DIR%%;
        access_log %%DIR%%/asked.log asked;

        location = /ok    { return 200 "ok"; }
        location = /moved { return 302 http://127.0.0.9:%%PORT%%/elsewhere; }
        location = /wall  { return 403; }
        location = /head  { if (\$request_method = HEAD) { return 405; }
                            return 200 "a page"; }
        location = /late  { if (\$request_method = HEAD) { return 404; }
                            return 200 "a page"; }
        location /file    { }
        location /two     { return 200 "ok"; }
    }
CONF

my $port = $t->port('edge1');
my $node = "$t->{dir}/edge1";

$t->write_file('edge1/file', 'here');
chmod 0644, "$node/file";

sub asked { map { [ split ' ', $_, 6 ] } split /\n/, $t->slurp("$node/asked.log") }

sub url { my ($n, $path) = @_; "http://127.0.0.$n:$port/$path" }

my @paths = qw(ok moved wall head late file two/a gone);

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'go.example', org => 'acme')");

my $n = 0;
my %url = map { $_ => url(++$n, $_) } @paths;

$url{two} = url(7, 'two/b');
$url{closed} = 'http://127.0.0.1:1/';

$t->sql("select api.link_add(host => 'go.example', slug => ?, url => ?)",
        $_, $url{$_}) for sort keys %url;

sub run { my ($name, %conf) = @_;
          $t->usherd(name => $name, duties => 'keep,health',
                     conf => { health => \%conf, usherd => { lease_s => 2 } }) }

sub known { !grep { !health($t, $_)->{verdict} } values %url }

sub of { my ($what) = @_;
         my $h = health($t, $url{$what});
         return "$h->{verdict} " . ($h->{status} // $h->{error}) }

# nothing private, as by default

run('usherd');
$t->wait_for(\&known, 'all are looked at', 30);
is(of('ok'), 'unknown address', 'what is private is not asked');
is(of('closed'), 'unknown address', 'nor found out');
is(scalar asked(), 0, 'nobody was');
$t->stop('usherd');

# what may be asked

$t->sql("update usher.health set verdict = null, next_at = now()");
$t->sql("update usher.health_host set due_at = now(), free_at = now()");
run('usherd', allow_private => 'yes');
$t->wait_for(\&known, 'all are asked', 60);

is(of('ok'), 'alive 200', 'a page');
is(of('moved'), 'alive 302', 'a redirect is an answer');
is(of('wall'), 'unknown 403', 'a wall against robots');
is(of('head'), 'alive 200', 'one that takes no HEAD');
is(of('late'), 'alive 200', 'one that answers it wrongly');
is(of('gone'), 'failed 404', 'a page that is gone');
is(of('closed'), 'failed connect', 'nobody there');

my %how;

push @{ $how{$_->[3]} }, "$_->[2] $_->[4]" for asked();
is("@{ $how{'/ok'} }", 'HEAD -', 'HEAD, where that will do');
is("@{ $how{'/head'} }", 'HEAD - GET bytes=0-0', 'and a GET of one byte');
is("@{ $how{'/gone'} }", 'HEAD - GET bytes=0-0', 'for the bad news as well');
is($how{'/elsewhere'}, undef, 'no redirect is followed');
like((asked())[0][5], qr{^usher/\d+\.\d+\.\d+$}, 'it says who it is');

# a host is asked once in a second, between HEAD and GET too

my (%last, @soon);

for my $r (sort { $a->[0] <=> $b->[0] } asked()) {
    push @soon, "$r->[1]$r->[3]" if $last{$r->[1]} && $r->[0] - $last{$r->[1]} < 0.99;
    $last{$r->[1]} = $r->[0];
}

is("@soon", '', 'no host is asked twice in a second');

# one of two asks; if it is killed in the midst of it, what it had taken is
# due again in minutes

run('usherd2', allow_private => 'yes');
my $before = asked();
hours($t, 48);
$t->wait_for(sub { asked() > $before + 3 }, 'the next day');
unlike($t->log_of('usherd2'), qr/health.*holds the lease/, 'one stands by');
$t->kill9('health');
hours($t, 0.1);
$t->wait_for(sub { !$t->sql('select count(*) from usher.health where '
                            . "checked_at < now() - interval '1 day'") },
             'killed: all are asked again', 60);

# it dies, and is told of; it lives again

sub value { my ($name) = @_;
            my $sum = 0;
            $sum += $_ for map { $t->metrics($_) =~ /^usherd_$name\{.*\} (\d+)$/m
                                 ? $1 : () } qw(usherd usherd2);
            return $sum }

unlink "$node/file";
my ($requests, $deaths) = map { value("health_${_}_total") } qw(requests deaths);

for my $n (1 .. 3) {
    my $was = health($t, $url{file})->{failures};

    $t->wait_for(sub { hours($t, 24);
                       sleep 1;
                       health($t, $url{file})->{failures} > $was },
                 "failure $n", 60);
}

is(health($t, $url{file})->{state}, 'dead', 'gone three times: dead');
is($t->ctl('link health org=acme')->[0]{target}, 'url', 'it is listed');
like($t->log_of('usherd') . $t->log_of('usherd2'),
     qr{target http://\S+/file is dead: 404}, 'and told');
cmp_ok(value('health_requests_total'), '>', $requests, 'requests are counted');
cmp_ok(value('health_deaths_total'), '>', $deaths, 'and deaths');
$t->wait_for(sub { value('health_dead') > 0 }, 'and the dead');

$t->write_file('edge1/file', 'here');
chmod 0644, "$node/file";
$t->ctl('link check host=go.example slug=file');
$t->wait_for(sub { health($t, $url{file})->{state} eq 'alive' },
             'one good answer: alive', 20);

# switched off

$t->stop($_) for qw(usherd usherd2);
$before = asked();
run('usherd', enabled => 'no', allow_private => 'yes');
hours($t, 48);
$t->wait_for(sub { $t->metrics =~ /^usherd_keep_runs_total\{.*\} [1-9]/m },
             'others work');
is(scalar $t->duties('health'), 0, 'none is there');
is(scalar asked(), $before, 'and nobody is asked');

done_testing();
