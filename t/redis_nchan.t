# nchan carries a patched hiredis and exports it: loaded before us it must
# not take our calls.  (It also makes /var/lib/nginx/body whatever the
# configuration says, so this nginx sees a /var/lib/nginx of its own.)

use lib 't/lib';
use Usher::Test;

my $nchan = '/usr/lib/nginx/modules/ngx_nchan_module.so';
my $t = Usher::Test->new;
my $so = $t->build . '/ngx_http_usher_module.so';

# the calls of our module go nowhere outside of it

my $needs = `nm -D --undefined-only $so`;
my $gives = `nm -D --defined-only $so`;

unlike($needs, qr/ (redis[A-Z]|sds[a-z])/, 'no call of hiredis leaves us');
is(join(' ', sort $gives =~ / [BDRTV] (ngx_modules|ngx_module_\w+|redis\w+)/g),
   'ngx_module_names ngx_module_order ngx_modules', 'nor do we offer any');

# the two in one process

my $wrapper = $t->dir . '/nginx-own-var';

open(my $fh, '>', $wrapper) or die;
print $fh <<'EOF';
#!/bin/sh
exec unshare --map-current-user --keep-caps --mount sh -c \
    'mount -t tmpfs none /var/lib/nginx && exec /usr/sbin/nginx "$@"' sh "$@"
EOF
close($fh);
chmod 0755, $wrapper;

SKIP: {
    skip('libnginx-mod-nchan is not installed (CI has it)', 2)
        unless -f $nchan;
    skip('no namespaces here', 2)
        if system("$wrapper -v >" . $t->dir . '/unshare 2>&1') != 0
           || $t->san;

    $ENV{USHER_NGINX} = $wrapper;

    $t->redis;
    my $ours = $t->dir . '/bin/ngx_http_usher_module.so';

    $t->nginx(<<'EOF', main => "load_module $nchan;\nload_module $ours;");
        usher_zone 1m;
        usher_redis %%REDIS%%;
        server {
            listen 127.0.0.1:%%PORT%%;
            location = /status { usher_status; }
            location = /sub { nchan_subscriber; nchan_channel_id x; }
        }
EOF

    like($t->get('/status')->body, qr/"redis"/, 'nginx runs with both');
    $t->wait_for(sub { $t->get('/status')->json->{workers}[0]{redis}{directory}
                       eq 'ready' }, 'our client speaks to Redis', 15);
}

done_testing();
