# Buckets hold over a reload; other shares are refused by a reload; another
# size begins anew.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

sub conf {
    my ($zone) = @_;

    return <<"EOF";
    usher_zone $zone;
    server {
        listen 127.0.0.1:%%PORT%%;
        location = /status { usher_status; }
        location / {
            usher_limit each rate=1r/m burst=3 key=\$arg_who;
        }
    }
EOF
}

sub taken {
    my ($who) = @_;
    my $n = 0;

    for (1 .. 10) {
        $n++ if $t->get("/?who=$who")->status != 429;
    }

    return $n;
}

$t->nginx(conf('2m'), workers => 2);

my $full = taken('a');

cmp_ok($full, '>', 0, 'a bucket admits its burst');
cmp_ok($full, '<', 10, 'and no more');

ok($t->reload, 'reload');
is(taken('a'), 0, 'it is still empty after a reload');
is(taken('b'), $full, 'others are not');

$t->wait_for(sub { $t->workers == 2 }, 'the old workers have gone', 10);

# the same size with other shares: the memory cannot be cut anew

my $pids = join(' ', sort $t->workers);

$t->nginx_conf(conf('2m keys=50%'), workers => 2);
$t->signal('master', 'HUP');
$t->wait_for(sub { $t->error_log
                   =~ /usher_zone has other shares: .*nginx\.conf:\d+$/m },
             'a reload with other shares is refused with a reason', 10);
is(join(' ', sort $t->workers), $pids, 'the old workers stay');
is(taken('b'), 0, 'and so do their buckets');

# another size is another zone

$t->nginx_conf(conf('3m keys=50%'), workers => 2);
ok($t->reload, 'reload with another size');
$t->wait_for(sub { !grep { $pids =~ /\b$_\b/ } $t->workers },
             'the old workers have gone', 10);
cmp_ok($t->get('/status')->json->{zone}{bytes}, '>', 2.5 * 1024 * 1024,
       'a zone of the new size');
is(taken('a'), $full, 'and new buckets');

$t->expect_alerts(qr/\[emerg\] .* other shares/);

done_testing();
