# Click keys at the edge: a new one signs at once, old ones are known, none is
# kept that was taken away, and what is wrong stands in the log once.

use lib 't/lib';
use Usher::Test;
use Usher::Click;
use Usher::Secret;

my $t = Usher::Test->new;
my $conf = <<'CONF';
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_key_file %%DIR%%/keys;
    usher_journal %%DIR%%/journal size=16m segment=1m;

    server {
        listen 127.0.0.1:%%PORT%%;

        location ~ ^/go/(?<slug>.*)$ {
            usher_link $slug;
        }

        location /read {
            usher_test_click;
        }
    }
CONF

$t->postgres;
$t->redis;
$t->usherd;

key_file($t, 'keys');
edge_keys($t);
$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");
$t->sql("select api.link_add(host => 'localhost', slug => 'a', "
    . "url => 'https://shop.example/?{click_id}')");
$t->nginx($conf, workers => 2, test_module => 1);
$t->expect_alerts(qr/click key/);


# The id that the target is given; undef where there is no redirect.

sub id {
    return (($t->get('/go/a')->header('Location') // return) =~ /\?(.*)/)[0];
}


# Which key signs, and what the edge says of an id.

sub signer { my $id = id() // return 'no link'; $id ? read_id($id)->{key} : 'none' }

sub says { return $t->get("/read?id=$_[0]")->body }

sub signs { my ($key, $what) = @_;
            $t->wait_for(sub { signer() eq $key }, $what) }

sub alerts { return scalar(() = $t->error_log =~ /\[alert\].*$_[0]/g) }


# before there is one

signs('none', 'sent on without an id');
$t->get('/go/a') for 1 .. 20;
is(alerts('no click key signs.*usherctl click key rotate'), 1, 'an alert, once');
is(says('c' . 'a' x 31), 'no key', 'no id is known');

# it signs, and the next one, and the first is known

$t->ctl('click_key rotate');
signs(0, 'a first key signs');
like($t->error_log, qr/a click key signs again/, 'said');
is(says(my $first = id()), 'ok 0 1', 'and is known');
ok(signed($first, secret_of($t, 0)), 'for what it is');

$t->ctl('click_key rotate');
signs(1, 'another signs');
is(says($first), 'ok 0 1', 'one that was retired is known');
is(says(my $second = id()), 'ok 1 1', 'as is the new one');
is(says(substr($first, 0, 31) . substr($first, 31) =~ tr/a-z2-7/b-z2-7a/r),
   'forged', 'a forged id');
is(says(substr $first, 1), 'malformed', 'no id');
is($t->get('/read')->status, 400, 'none');

# encrypted anew: nothing changes, and no request fails

my $old = key_file($t, 'anew', 'keys');
edge_keys($t);
$t->nginx_conf($conf, workers => 2, test_module => 1);
$t->reload;
$t->ctl('secret recrypt');
$t->wait_for(sub { says($first) eq 'ok 0 1' && says($second) eq 'ok 1 1' },
             'by a new key file');
signs(1, 'and signs');
is(alerts('cannot be opened'), 0, 'it was there in time');

# Redis away: what is known stays

$t->stop('redis');
is(signer(), 1, 'without Redis') for 1 .. 5;
is(says($first), 'ok 0 1', 'it is known');
$t->start('redis');

# taken away

$t->ctl('secret drop kind=click name=0');
$t->wait_for(sub { says($first) eq 'no key' }, 'a key that was taken away');
is(says($second), 'ok 1 1', 'and no other');
$t->ctl('click_key rotate');
signs(0, 'its id is used again');
is(says($first), 'forged', 'and it is not the same');
$t->sql("update usher.secret set retired_at = now() - interval '24 months'
         where kind = 'click' and name = '1'");
$t->wait_for(sub { says($second) eq 'no key' }, 'after 24 months');

my $third = id();
$t->ctl('secret retire kind=click name=0');
signs('none', 'no other signs in place of a retired one');
is(says($third), 'ok 0 1', 'which is known');
$t->ctl('click_key rotate');
signs(2, 'until there is a new one');

# records that are wrong

my $good = $t->redis_cli('get', 'usher:d:click_key:all');
my $key = ($good =~ /("sealed": ?"[^"]*")/)[0];
my %wrong = (
    'no array' => $good =~ s/"keys": ?\[/"keys": {"a": [/r =~ s/\]/]}/r,
    'out of order' => $good =~ s/\[/[{"id": 5, $key},/r,
    'an id too large' => $good =~ s/"id": ?0/"id": 16/r,
    'too short' => $good =~ s/"sealed": ?"..../"sealed": "/r,
    'no base64' => $good =~ s/"sealed": ?"./"sealed": "!/r,
    'none of them signs' => $good =~ s/"current": ?2/"current": 5/r,
);

$t->signal('directory', 'STOP');

for my $how (sort keys %wrong) {
    isnt($wrong{$how}, $good, "$how differs");
    $t->redis_cli('set', 'usher:d:click_key:all', $wrong{$how});
    $t->restart('edge1');
    $t->wait_for(sub { signer() eq 'none' }, "$how: no id");
    is($t->get("/read?id=$third")->status, 503, '... and it cannot be told');
}

$t->signal('directory', 'CONT');
signs(2, 'until usherd wrote it again');

# a host whose key file is another's

key_file($t, 'foreign');
edge_keys($t);
$ENV{USHER_KEY_FILE} = $old;
$t->reload;
signs('none', 'a foreign key file');
$t->wait_for(sub { alerts('click key 0 cannot be opened.*usher_key_file') == 1 },
             'is an alert, once');
edge_keys($t);
$t->reload;
signs(2, 'mended');

done_testing();
