package Contest;

# The contestants that are not Usher, and what all of them share: an nginx of
# its own for each, one worker, no access log, the same file, the same
# keep-alive; and the worker's CPU time, to the nanosecond.

use v5.36;

use Digest::SHA qw(sha256);
use File::Path qw(make_path);
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
    my $self = bless { %opt }, $class;
    my ($path) = $PATH =~ /^([^?]+)/;

    $self->{www} = $self->{t}->dir . '/www';
    $self->{t}->write_file("www$path",
        '{"text":"' . 'kept time ' x 101 . '"}' . "\n");

    return $self;
}


sub nginx ($self, $name, %part) {
    my $t = $self->{t};
    my $location = $part{location} // '';

    $t->nginx(<<~END, name => $name, usher => 0, %part);
        sendfile on;
        tcp_nopush on;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
        default_type application/json;
        @{[ $part{http} // '' ]}
        server {
            listen 127.0.0.1:%%PORT%%;
            root $self->{www};
            @{[ $part{server} // '' ]}
            location / {
                $location
            }
        }
        END

    my ($worker) = $t->workers($name);

    return { name => $name, port => $t->port($name), worker => $worker };
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


sub access_log ($self) {
    return $self->nginx('access_log',
        access_log => '%%DIR%%/access.log');
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
    my $service = $self->nginx('auth_service', location => 'return 204;');

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
                proxy_pass http://auth;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_pass_request_body off;
                proxy_set_header Content-Length "";
            }
            END
}


1;
