package Usher::Test::Nginx;

# nginx nodes of a test, and requests to them; base of Usher::Test.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(sleep time);

use Usher::Test::Process qw(
    alive children command_of owner sleep_until spawn stop_process
);
use Usher::Test::Response;


# nginx($http, %opt): runs a node.
#
#     name => 'edge1'     of the node: also its directory and %%NODE%%
#     workers => 1
#     main => '', events => ''    more lines there
#     modules => [...]    Debian's, such as 'ndk_http_module'
#     log => 'info'
#     test_module => 1    with t/module in it
#     nogo => 1           only write the configuration
#     as_root => 1        the master is root's, as the test is
#
# %%PORT%%, %%PORT_2%%, %%REDIS%%, %%DIR%% (of the node), %%TOP%% and %%NODE%%
# are replaced.

sub nginx {
    my ($self, $http, %opt) = @_;

    my $name = $opt{name} // $self->{node};

    $self->{node} = $name unless %{ $self->{nodes} };
    $self->{nodes}{$name} = 1;
    $self->nginx_conf($http, %opt);

    return $self if $opt{nogo};

    $self->server($name, 'TERM', sub { $self->nginx_start($name, %opt) });

    return $self;
}


sub nginx_binary {
    return $ENV{USHER_NGINX} if $ENV{USHER_NGINX};

    for my $dir (split(/:/, $ENV{PATH}), '/usr/sbin') {
        return "$dir/nginx" if -x "$dir/nginx";
    }

    die "no nginx\n";
}


# Writes the configuration again, for a reload.

sub nginx_conf {
    my ($self, $http, %opt) = @_;

    my $name = $opt{name} // $self->{node};
    my $dir = "$self->{dir}/$name";
    my ($uid, $gid) = owner();

    for ($dir, "$dir/html", "$dir/tmp") {
        mkdir $_;
        chown $uid, $gid, $_;
    }

    my $so = $opt{test_module} ? 'test' : 'ngx_http_usher_module';
    my $load = $ENV{USHER_NGINX}
               ? '' : "load_module $self->{dir}/bin/$so.so;\n";

    $load .= "load_module /usr/lib/nginx/modules/$_.so;\n"
        for @{ $opt{modules} || [] };

    my $workers = $opt{workers} // 1;
    my $log = $opt{log} // 'info';
    my $main = $opt{main} // '';
    my $events = $opt{events} // '';

    my $temp = join '', map { "    ${_}_temp_path $dir/tmp/$_;\n" }
               qw(client_body proxy fastcgi uwsgi scgi);

    my $text = <<"CONF";
${load}daemon off;
worker_processes $workers;
pid $dir/nginx.pid;
lock_file $dir/nginx.lock;
error_log $dir/error.log $log;
$main

events {
    worker_connections 1024;
    $events
}

http {
    access_log off;
$temp    root $dir/html;
    $http
}
CONF

    my $port = $self->port($name);
    my %is = (PORT => $port, DIR => $dir, TOP => $self->{top}, NODE => $name,
              REDIS => "unix:$self->{dir}/redis.sock");

    $text =~ s/%%(PORT|DIR|TOP|NODE|REDIS)%%/$is{$1}/g;
    $text =~ s/%%PORT_(\w+)%%/$self->port("${name}_$1")/ge;

    $self->write_file("$name/nginx.conf", $text);

    return $text;
}


sub nginx_cmd {
    my ($self, $name) = @_;

    my $dir = "$self->{dir}/$name";

    return (nginx_binary(), '-p', $dir, '-c', "$dir/nginx.conf",
            '-e', "$dir/error.log");
}


sub nginx_env {
    my ($self) = @_;

    return {} unless $self->san;

    my $cc = $self->slurp("$self->{build}/flags") =~ /^clang/
             ? 'clang' : 'gcc';
    my @libs = $cc eq 'gcc' ? qw(libasan.so libubsan.so)
               : qw(libclang_rt.asan-x86_64.so);

    my @found = map { my $p = `$cc -print-file-name=$_`; chomp $p; $p } @libs;

    # a library of the test comes behind them

    push @found, $ENV{LD_PRELOAD} // ();

    return { %{ $self->san_env }, LD_PRELOAD => "@found" };
}


sub nginx_start {
    my ($self, $name, %opt) = @_;

    my $dir = "$self->{dir}/$name";

    # workers of a master that was killed still hold the port

    stop_process($_, 'TERM', 5) for $self->workers($name);

    my $pid = spawn(cmd => [ $self->nginx_cmd($name) ], out => "$dir/out.log",
                    dir => $dir, env => $self->nginx_env,
                    as_root => $opt{as_root});

    sleep_until(sub { !alive($pid) || $self->listening($name) }, 30);

    die "nginx does not start:\n", $self->slurp("$dir/out.log"),
        $self->slurp("$dir/error.log"), "\n" unless alive($pid);

    # all of its workers, for whoever tells them apart

    my $conf = $self->slurp("$dir/nginx.conf");
    my ($n) = $conf =~ /^\s*worker_processes\s+(\d+)/m;

    sleep_until(sub {
        $n <= grep { command_of($_) =~ /^nginx: worker process/ } children($pid)
    }, 5) if $n && $conf !~ /master_process\s+off/;

    return $pid;
}


sub listening {
    my ($self, $name) = @_;

    my $conf = $self->slurp("$self->{dir}/$name/nginx.conf");
    my $port = $self->port($name);

    return scalar $self->workers($name) if $conf !~ /:$port\b/;
    return IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port");
}


# nginx -t: (exit code, what it said)

sub nginx_test {
    my ($self, $http, %opt) = @_;

    my $name = $opt{name} // 'test';
    my $dir = "$self->{dir}/$name";

    $self->nginx_conf($http, %opt, name => $name);
    unlink "$dir/test.out";

    my ($bin, @args) = $self->nginx_cmd($name);
    my $pid = spawn(cmd => [ $bin, '-t', @args ], out => "$dir/test.out",
                    dir => $dir, env => $self->nginx_env,
                    as_root => $opt{as_root});

    waitpid($pid, 0);

    return ($? >> 8 || $? & 127, $self->slurp("$dir/test.out"));
}


# Another node: $t->on('edge2')->get('/').

sub on {
    my ($self, $name) = @_;

    my %view = (%$self, node => $name, main => 0);

    return bless \%view, ref $self;
}


sub error_log {
    my ($self) = @_;

    return $self->slurp("$self->{dir}/$self->{node}/error.log");
}


# pids, those whose master was killed included: these are our children, and
# know their node by the directory they were started in

sub workers {
    my ($self, $name) = @_;

    $name //= $self->{node};

    my $s = $self->{servers}{$name} or return;
    my $dir = "$self->{dir}/$name";
    my @found = grep { (readlink("/proc/$_/cwd") // '') eq $dir } children($$);

    @found = children($s->{pid}) if $s->{pid} && alive($s->{pid});

    return grep { command_of($_) =~ /^nginx: worker process/ } @found;
}


# HUP, and waits until all workers are new ones.

sub reload {
    my ($self) = @_;

    my %old = map { $_ => 1 } $self->workers;
    my $log = length $self->error_log;

    kill 'HUP', $self->pid($self->{node});

    my $done = sleep_until(sub {
        my @now = $self->workers;
        grep({ !$old{$_} } @now)
            || substr($self->error_log, $log) =~ /\[emerg\]/;
    }, 20);

    return $done && substr($self->error_log, $log) !~ /\[emerg\]/;
}


# ---- requests

sub connect {
    my ($self, %opt) = @_;

    my $port = $opt{port} // $self->port($self->{node});

    return IO::Socket::INET->new(PeerAddr => $opt{address} // '127.0.0.1',
                                 PeerPort => $port, Proto => 'tcp');
}


# Raw text in, raw text out, until the server closes or $opt{timeout}.

sub http {
    my ($self, $raw, %opt) = @_;

    my $s = $opt{socket} // $self->connect(%opt) or return '';
    my $text = '';
    my $end = time + ($opt{timeout} // ($self->san ? 30 : 10));
    my $select = IO::Select->new($s);

    $s->autoflush(1);
    print $s $raw;

    while ($select->can_read($end > time ? $end - time : 0)) {
        sysread($s, $text, 65536, length $text) or last;
    }

    return $text;
}


sub request {
    my ($self, $method, $uri, $body, @headers) = @_;

    my $raw = "$method $uri HTTP/1.1\r\n";
    my $host;

    while (@headers) {
        my ($name, $value) = splice @headers, 0, 2;
        $raw .= "$name: $value\r\n";
        $host = 1 if lc $name eq 'host';
    }

    $raw .= "Host: localhost\r\n" unless $host;
    $raw .= "Content-Length: " . length($body) . "\r\n" if defined $body;
    $raw .= "Connection: close\r\n\r\n" . ($body // '');

    return Usher::Test::Response->new($self->http($raw));
}


sub get  { my $t = shift; my $u = shift; $t->request('GET', $u, undef, @_) }
sub head { my $t = shift; my $u = shift; $t->request('HEAD', $u, undef, @_) }
sub post { my $t = shift; my $u = shift; $t->request('POST', $u, @_) }


1;
