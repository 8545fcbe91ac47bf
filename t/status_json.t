# usher_status and usher_metrics: JSON and Prometheus text of a node, by a
# strict parser of each, and that they agree.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->redis;
$t->nginx(<<'EOF', workers => 2);
    usher_zone 2m;
    usher_node "edge1";
    usher_redis %%REDIS%%;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /status { usher_status; }
        location = /metrics { usher_metrics; }
        location /limited {
            usher_limit each rate=1r/m burst=1 key=$arg_who;
        }
    }
EOF

# A strict parser of text format 0.0.4: HELP, TYPE, then samples of that
# family only, no family twice, no sample twice, everything ended by LF.

sub parse_metrics {
    my ($text) = @_;
    my (%type, %sample, $family, $help);

    like($text, qr/\n\z/, 'metrics end in a newline');

    for my $line (split(/\n/, $text)) {
        if ($line =~ /^# HELP ([a-z_:][a-z0-9_:]*) (\S.*)$/) {
            return "$1 has two HELP lines" if $type{$1};
            $help = $1;

        } elsif ($line =~ /^# TYPE (\S+) (counter|gauge)$/) {
            my ($name, $type) = ($1, $2);

            return "TYPE of $name without its HELP" unless $help eq $name;
            return "$name is a counter without _total"
                if $type eq 'counter' && $name !~ /_total$/;
            $family = $name;
            $type{$family} = $type;

        } elsif ($line =~ /^([a-z_:][a-z0-9_:]*)
                           (\{(?:[a-z_]+="(?:[^"\\]|\\["\\n])*",?)*\})?
                           [ ](-?[0-9]+(?:\.[0-9]+)?)$/x)
        {
            my ($name, $labels, $value) = ($1, $2 // '', $3);

            return "sample $name stands under $family" if $name ne $family;
            return "two samples $name$labels"
                if exists $sample{"$name$labels"};
            return "empty labels or a comma at the end: $line"
                if $labels =~ /^\{\}$|,\}$/;
            $sample{"$name$labels"} = $value;

        } else {
            return "cannot read: $line";
        }
    }

    return { sample => \%sample, type => \%type };
}

$t->wait_for(sub { 2 == @{ $t->get('/status')->json->{workers} } },
             'both workers are there');

my $r = $t->get('/status');

is($r->status, 200, 'status');
is($r->header('Content-Type'), 'application/json', 'its type');
is($r->header('Cache-Control'), 'no-store', 'is not stored');

my $s = $r->json;

is($s->{node}, 'edge1', 'node');
like($s->{version}, qr/^\d+\.\d+\.\d+/, 'version');
cmp_ok($s->{zone}{bytes}, '>', 1.9 * 1024 * 1024, 'size of the zone');
cmp_ok($s->{zone}{bytes}, '<=', 2 * 1024 * 1024, 'which is within its limit');

my $sum = 0;

for my $part (qw(keys buckets negatives records clicks)) {
    my $p = $s->{zone}{$part};

    cmp_ok($p->{cells}, '>', 0, "$part: cells");
    cmp_ok($p->{used}, '<=', $p->{cells}, "$part: used");
    $sum += $p->{bytes};
}

cmp_ok($sum, '<=', $s->{zone}{bytes}, 'the parts lie in the zone');
is(join(' ', sort map { $_->{pid} } @{ $s->{workers} }),
   join(' ', sort $t->workers), 'by their pids');
ok(exists $s->{counters}{requests_admitted}, 'counters');

$t->get("/limited?who=$_") for 1 .. 40, 1 .. 10;

$r = $t->get('/metrics');
is($r->status, 200, 'metrics');
is($r->header('Content-Type'), 'text/plain; version=0.0.4; charset=utf-8',
   'their type');

my $m = parse_metrics($r->body);

is(ref $m, 'HASH', 'they can be read by a strict parser')
    or BAIL_OUT("metrics: $m");
is($m->{sample}{'usher_zone_used_cells{part="buckets"}'}, 40,
   'as many buckets as names');
is($m->{sample}{usher_workers}, 2, 'workers');
like((grep { /^usher_info/ } keys %{ $m->{sample} })[0],
     qr/node="edge1",version="/, 'info');

$s = $t->get('/status')->json;
is($s->{zone}{buckets}{used}, 40, 'the status says so too');

for my $name (sort keys %{ $s->{counters} }) {
    ok(exists $m->{sample}{"usher_${name}_total"}, "$name is in both")
        or last;
}

$r = $t->head('/metrics');
is($r->status, 200, 'HEAD');
is(length($r->body), 0, 'has no body');
is($t->post('/status', 'x')->status, 405, 'POST is refused');

# counters outlive the workers that counted

my $limited = $s->{counters}{requests_limited};

is($limited, 10, 'refusals are counted, by whichever worker');
$t->kill9('worker');
$t->wait_for(sub { (grep { kill 0, $_ } $t->workers) == 2 },
             'new workers', 10);
$t->wait_for(sub { my $n = eval { $t->get('/status')->json };
                   $n && @{ $n->{workers} } == 2 }, 'they registered', 10);
is($t->get('/status')->json->{counters}{requests_limited}, $limited,
   'a killed worker takes no count with it');

done_testing();
