package Contest;

# The contestants that are not Usher, and what all of them share: conf/
# usher-run.conf, the configuration of util/run, of which each keeps what it
# competes with; an nginx of its own with one worker; the same file.  And the
# worker's CPU time, to the nanosecond.

use v5.36;

use Digest::SHA qw(sha256);
use MIME::Base64 qw(encode_base64);

our $PATH = '/v1/articles/2026/11/20/how-the-lighthouse-keepers-kept-time'
    . '.json?fields=title,lead,body&lang=en&format=full';

# What a browser-like client sends, so that all columns of an event are full.
our @HEADERS = (
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, '
        . 'like Gecko) Chrome/130.0.0.0 Safari/537.36',
    'Accept: application/json, text/html;q=0.9, */*;q=0.8',
    'Accept-Language: en-GB,en;q=0.9,de;q=0.8',
    'Referer: https://reader.example.org/library/shelves/maritime-history'
        . '?page=3&sort=newest',
);


# t: the Usher::Test that owns the servers; here: the directory of this file.

sub new ($class, %opt) {
    return bless { %opt }, $class;
}


# keep: Usher's directives that stay in the configuration; aside: not on the
# CPU of those that are measured; http, server,
# location: what is added to it.

sub nginx ($self, $name, %part) {
    my $t = $self->{t};
    my $dir = $t->dir . "/$name";
    my %keep = map { $_ => 1 } @{ $part{keep} // [] };
    my %is = (BIN => $t->dir . '/bin', DIR => $dir, NODE => $name,
        REDIS => 'unix:' . $t->dir . '/redis.sock', WORKERS => 1,
        PORT => $t->port($name));
    my $conf = $t->slurp($t->top . '/conf/usher-run.conf');

    $conf =~ s/\@([A-Z]+)\@/$is{$1} \/\/ $&/ge;
    $conf =~ s/^\s*load_module .*\n//m if !%keep;
    $conf =~ s/^\s*location = [^}]*\busher_(?:status|metrics);[^}]*\}\n//mg
        if !%keep;
    $keep{$_} = 1 for %keep ? qw(usher_status usher_metrics) : ();
    $conf =~ s/^(\s*(usher_\w+)\b[^;]*;\n)/$keep{$2} ? $1 : ''/meg;
    $conf =~ s/^(?=worker_processes)/$self->modules($part{modules})/me;
    $conf =~ s/^(?=worker_processes)/worker_cpu_affinity 1;\n/m
        if !$part{aside};
    $conf =~ s/^\s*access_log \Koff/$part{access_log}/m if $part{access_log};
    $conf =~ s/^http \{\n\K/$part{http}/m if $part{http};
    $conf =~ s/^    server \{\n\K/$part{server}/m if $part{server};
    $conf =~ s/location \/v1\/ \{\n\K/$part{location}\n/ if $part{location};
    $conf =~ s/^(\s*usher_zone )\w+;/$1$part{zone};/m if $part{zone};
    $conf =~ s/^\s*root \K.*;/$t->{dir}\/www;/m;

    my ($path) = $PATH =~ /^([^?]+)/;

    $t->write_file("www$path", '{"text":"' . 'kept time ' x 101 . "\"}\n");
    $t->nginx('', name => $name, nogo => 1);
    mkdir "$dir/journal";
    chown $t->{uid}, -1, "$dir/journal";
    $t->write_file("$name/nginx.conf", $conf);
    $t->server($name, 'TERM', sub { $t->nginx_start($name) });

    my ($worker) = $t->workers($name);

    return { name => $name, port => $is{PORT}, worker => $worker };
}


sub modules ($self, $names) {
    return join '', map { "load_module /usr/lib/nginx/modules/$_.so;\n" }
        @{ $names // [] };
}


# User and system time of all threads of a process, in microseconds.

sub cpu ($self, $pid) {
    my $sum = 0;

    for my $task (glob "/proc/$pid/task/*/schedstat") {
        open my $f, '<', $task or next;
        $sum += (split ' ', <$f>)[0];
    }
    die "process $pid is gone\n" if !$sum;

    return $sum / 1000;
}


sub plain ($self) {
    return $self->nginx('plain');
}


# Feed gives usherd work in its rounds.

sub beside ($self) {
    return $self->nginx('beside');
}


sub access_log ($self) {
    return $self->nginx('access_log',
        access_log => "$self->{t}{dir}/access_log/access.log");
}


sub limit_req ($self) {
    return $self->nginx('limit_req',
        http => 'limit_req_zone $http_x_api_key zone=rps:64m '
            . 'rate=1000000r/s;',
        location => 'limit_req zone=rps burst=1000000 nodelay;');
}


sub lua ($self, $name, $call, $init) {
    my $t = $self->{t};

    open my $f, '<', "$self->{here}/access.lua" or die "access.lua: $!\n";
    $t->write_file('lua/access.lua', do { local $/; <$f> });

    return $self->nginx($name,
        modules => [qw(ndk_http_module ngx_http_lua_module)],
        http => <<~END, location => "access_by_lua_block { access.$call() }");
            lua_package_path "$t->{dir}/lua/?.lua;;";
            lua_shared_dict keys 32m;
            lua_shared_dict buckets 32m;
            init_by_lua_block {
                access = require "access"
                $init
            }
            END
}


sub lua_shared ($self) {
    return $self->lua('lua_shared', 'shared',
        "access.load(\"$self->{key}\", 0)");
}


sub lua_redis ($self) {
    my $t = $self->{t};
    my $id = encode_base64(sha256($self->{key}), '');

    $t->redis(name => 'lua');
    $t->redis_cli({ name => 'lua' }, 'set', "key:$id",
        '0000000000 1 acme read') eq 'OK' or die "redis-cli failed\n";

    return $self->lua('lua_redis', 'redis',
        "access.socket = \"unix:$t->{dir}/lua.sock\"");
}


# The service does nothing but answer: what is measured is the asking.

sub auth_request ($self) {
    my $service = $self->nginx('auth_service', aside => 1,
        location => 'return 204;');

    return $self->nginx('auth_request', location => 'auth_request /auth;',
        http => <<~END, server => <<~END);
            upstream auth {
                server 127.0.0.1:$service->{port};
                keepalive 32;
                keepalive_requests 1000000000;
            }
            END
            location = /auth {
                internal;
                proxy_pass http://auth/v1/;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_pass_request_body off;
                proxy_set_header Content-Length "";
            }
            END
}


1;
