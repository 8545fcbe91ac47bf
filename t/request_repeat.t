# A client may send one id as often as it likes, within one millisecond too:
# that is no row stored twice.  An id that Usher made is, wherever it came from.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });
$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=4m segment=256k;
    usher_auth optional;
    usher_request_id $http_x_request_id;

    server {
        listen 127.0.0.1:%%PORT%%;
        location / { return 204; }
    }
CONF


sub stored { $t->sql('select count(*) from usher.request') == $_[0] }


$t->get('/');
$t->wait_for(sub { stored(1) }, 'a row', 30);

my $own = $t->sql('select request_id from usher.request');
like($own, qr/^[0-9a-f]{32}$/, 'without an id of the client it is ours');

$t->http(join '', map({ "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: $_\r\n\r\n" }
                      ('same') x 20, ($own) x 20),
         "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
$t->wait_for(sub { stored(42) }, 'all rows', 30);
$t->sql('update usher.request set event_time = now()');

my $v = $t->ctl('journal verify');
is("@{ $v->{problems} }", '', 'an id that clients repeat is no row twice');
is("$v->{duplicates} $v->{repeated}", '0 38', 'it is counted');

# the same number of rows, but one twice and one not at all

$t->sql('with one as (select * from usher.request where flags = 0 limit 1),
              gone as (delete from usher.request where ctid = (select min(ctid)
                       from usher.request where flags = 4))
         insert into usher.request select * from one');
$v = $t->ctl('journal verify');
is("@{ $v->{problems} }", '1 rows are there again', 'one that is ours, is');
is($v->{missing}, 0, 'while the count is right');

done_testing();
