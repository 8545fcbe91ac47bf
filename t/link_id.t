# Each click of a link has an id that is signed; Digest::SHA says whether.

use lib 't/lib';
use Usher::Test;
use Usher::Click;
use Usher::Secret;

my $t = Usher::Test->new;
my $browser = 'Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 '
    . 'Firefox/130.0';

$t->postgres;
$t->redis;
$t->usherd;

is(click_key($t), 0, 'a first key');
my $secret = secret_of($t, 0);
is(length $secret, 32, 'of 32 bytes');

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => '$_', "
    . "url => 'https://shop.example/?id={click_id}')") for 'other', 'go';

$t->write_file('bots.list', $t->slurp($t->top . '/conf/bots.list'));
$t->nginx(<<'CONF', workers => 2);
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_key_file %%DIR%%/keys;
    usher_journal %%DIR%%/journal size=16m segment=1m;
    usher_bots file=%%DIR%%/../bots.list;
    usher_link_visitor off;

    log_format said '$usher_click_id $usher_click_reason';

    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/said.log said;
        add_header X-Click "$pid,$usher_click_reason,$usher_click_id" always;

        location ~ ^/go/(?<slug>[^/]*)$ {
            usher_link $slug;
        }

        location ~ ^/refuse/(?<slug>[^/]*)$ {
            usher_link $slug;
            usher_link_prefetch refuse;
        }

        location ~ ^/twice/(?<slug>[^/]*)$ {
            error_page 404 = /go/go;
            usher_link $slug;
        }

        location / {
        }
    }
CONF

sub click {
    my ($uri, %with) = @_;

    return $t->request($with{method} // 'GET', $uri, undef,
                       'User-Agent' => $with{agent} // $browser,
                       $with{prefetch} ? ('Sec-Purpose' => 'prefetch') : ());
}

# the worker, the reason and the id that it shows

sub shown { return split /,/, scalar click(@_)->header('X-Click'), 3 }

$t->wait_for(sub { (shown('/go/go'))[2] }, 'a link is known');

# what is in it

my ($before, $response, $after) = (time, click('/go/go'), time);
my ($text) = $response->header('Location') =~ m{\?id=([a-z2-7]{32})$};
my $id = read_id($text);

ok(signed($text, $secret), 'the target is given a signed id');
is($id->{version}, 1, 'version');
is($id->{key}, 0, 'key');
is($id->{link}, $t->sql("select id from usher.link where slug = 'go'"), 'link');
ok($id->{time} >= $before - 1 && $id->{time} <= $after, 'time');
ok(!signed($text, secret_of($t, 0) ^ ("\0" x 31 . "\1")), 'by that key alone');
is((shown('/go/go'))[1], 'valid', '$usher_click_reason');

# whatever a click is worth

my @clicks = (
    [ 'bot', '/go/go', agent => 'curl/8.0' ],
    [ 'agent', '/go/go', agent => '' ],
    [ 'prefetch', '/go/go', prefetch => 1 ],
    [ 'prefetch', '/refuse/go', prefetch => 1 ],
    [ 'head', '/go/go', method => 'HEAD' ],
);

for my $case (@clicks) {
    my ($reason, @with) = @$case;
    my (undef, $said, $text) = shown(@with);

    is($said, $reason, "$with[0]: $reason");
    ok(signed($text, $secret), '... has an id');
}

is_deeply([ (shown('/go/none'))[1, 2] ], [ 'unknown', '' ],
          'what is no link has none');
is_deeply([ (shown('/nothing'))[1, 2] ], [ '', '' ], 'nor what is no click');
is_deeply([ map { /^\w{32}$/ || $_ } (shown('/twice/none'))[1, 2] ],
          [ 'valid', 1 ], 'the last of two clicks is shown');

# no id twice

my (%texts, %counters);

$t->wait_for(sub {
    for (1 .. 100) {
        my ($pid, undef, $text) = shown('/go/go');

        $texts{$text}++;
        push @{ $counters{$pid} }, read_id($text)->{counter};
    }

    return keys %counters == 2 && 2 <= grep { @$_ > 1 } values %counters;
}, 'both workers were asked');

is_deeply([ grep { $_ > 1 } values %texts ], [], 'no id twice');

my %odd = map { join(' ', sort { $a <=> $b } keys %{{ map { $_ % 2 => 1 } @$_ }}) => 1 }
          values %counters;

is_deeply([ sort keys %odd ], [ 0, 1 ], 'each worker has numbers of its own');
is_deeply([ grep { $_->[0] < 1000 } values %counters ], [],
          'that begin at random');

# the rows, and the log

my $rows = keys(%texts) + 10;

$t->wait_for(sub { $t->sql("select count(*) from usher.click") >= $rows },
             'clicks are rows');
is($t->sql("select count(*) from usher.click where click_id = ?", $text), 1,
   'with the id that was sent');
is($t->sql("select count(*) from usher.click
            where (click_id = '') <> (link_id = 0)"), 0, 'none without a link');
is($t->sql("select count(*) > 1 from usher.click where click_id = ''"), 1,
   'several have none');
is($t->sql("select api.journal_verify()->>'ok'"), 'true', 'which is no problem');
like($t->slurp($t->dir . '/edge1/said.log'), qr/^$text valid$/m, 'logged');

done_testing();
