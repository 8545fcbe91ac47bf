#!/usr/bin/perl

# Old and new workers over a reload: the old one, which has downloads open,
# ships what it writes by itself, beside the new one.  One worker each.

use lib 't/lib';
use Usher::Test;
use Usher::Test::Process qw(alive command_of);

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });
$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=4m segment=64k sync=20ms retain=1s;
    usher_request_id $http_x_id;

    server {
        listen 127.0.0.1:%%PORT%%;
        usher_auth optional;
        location / { }
    }
CONF

# more than the buffers of both sockets hold

my $size = 64 << 20;
truncate($t->write_file('edge1/html/large', ''), $size) or die "truncate: $!\n";
$t->write_file('edge1/html/small', 'x');


# a download that has begun and waits for us

sub begin {
    my ($id) = @_;

    my $s = $t->connect or die "connect: $!\n";

    print $s "GET /large HTTP/1.1\r\nHost: a\r\nX-Id: $id\r\n",
             "Connection: close\r\n\r\n";
    sysread($s, my $text, 12) == 12 or die "read: $!\n";

    return $text eq 'HTTP/1.1 200' ? $s : undef;
}

sub finish {
    my ($s) = @_;
    my ($n, $more) = (12);

    $n += $more while $more = sysread($s, my $text, 1 << 20);

    return $n > $size;
}

sub row {
    return scalar $t->sql('select count(*) from usher.request
                           where request_id = ?', $_[0]);
}

my $first = begin('first');
my $second = begin('second');
my ($old) = $t->workers;

ok($first && $second, 'two downloads have begun');
is($t->get('/small', 'X-Id' => 'before')->status, 200, 'a request before');
ok($t->reload, 'reload');

my ($new) = grep { $_ != $old } $t->workers;
ok($new, 'a new worker');
$t->wait_for(sub { command_of($old) =~ /is shutting down/ },
             'beside the old one');

# the old one may take a connection yet, before it hears of the reload

$t->wait_for(sub {
    $t->get('/small', 'X-Id' => 'probe');
    2 == (() = glob "$t->{dir}/edge1/journal/*/");
}, 'which serves, with a slot of its own', 20);
is($t->get('/small', 'X-Id' => 'new')->status, 200, 'a request');
$t->wait_for(sub { row('before') && row('new') }, 'and its row is there', 20);
is(row('first'), 0, 'none of what has not ended');

ok(finish($first), 'the first download ends');
$t->wait_for(sub { row('first') }, 'its row arrives', 20);
ok(alive($old), 'while the old worker lives');
is((() = glob "$t->{dir}/edge1/journal/*/"), 2, 'with its own slot');
unlike($t->error_log, qr/slot \w+ adopted/, 'which nobody has adopted');

is($t->get('/small', 'X-Id' => 'again')->status, 200, 'the new one goes on');
$t->wait_for(sub { row('again') }, 'as do its rows', 20);
is(row('second'), 0, 'the second download is open all the while');

ok(finish($second), 'the second download ends');
$t->wait_for(sub { row('second') }, 'its row arrives', 20);
$t->wait_for(sub { !alive($old) }, 'the old worker has gone', 20);
$t->wait_for(sub { 1 == (() = glob "$t->{dir}/edge1/journal/*/") },
             'and its slot, past retain', 30);

is(join(' ', map { row($_) } qw(before first new again second)), '1 1 1 1 1',
   'each is one row');
is($t->sql('select count(*) from usher.journal_gap'), 0, 'without a gap');

done_testing();
