package Usher::Test;

# Real servers for a test: PostgreSQL with Usher's schema, Redis, nginx with
# the module, usherd, usherctl, all below one directory in /tmp, on sockets or
# loopback, as an unprivileged user when the test is run by root.  They end
# with the test, and nothing else is touched.
#
#     use lib 't/lib';
#     use Usher::Test;               # Test::More's functions come along
#
#     my $t = Usher::Test->new;
#     $t->postgres; $t->redis; $t->usherd;
#     $t->nginx('usher_zone 1m; server { listen 127.0.0.1:%%PORT%%; ... }');
#
#     is($t->get('/', 'X-API-Key' => $key)->status, 200, 'admitted');
#     done_testing();
#
# done_testing() stops the servers and adds two checks: no alert in nginx's
# log and nothing reported by a sanitizer.
#
# Several nodes: $t->nginx($conf, name => 'edge2'), then $t->on('edge2')->get.
# t/README.md has the rest.

use strict;
use warnings;

use Cwd ();
use File::Basename ();
use File::Copy ();
use File::Path ();
use File::Temp ();
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Test::More;
use Text::ParseWords ();
use Time::HiRes qw(sleep time);

use Usher::Test::Nginx;
use Usher::Test::Postgres qw(postgres_bin postgres_data postgres_start);
use Usher::Test::Process qw(
    alive become_reaper children command_of end_children owner sleep_until
    spawn stop_process
);

our @ISA = ('Usher::Test::Nginx');

my $top = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../../..');
my @all;


sub import {
    my $caller = caller;

    strict->import;
    warnings->import;

    no strict 'refs';
    *{"${caller}::$_"} = \&{"Test::More::$_"}
        for grep { $_ ne 'done_testing' && /^\w+$/ } @Test::More::EXPORT;
    *{"${caller}::TODO"} = \${"Test::More::TODO"};
    *{"${caller}::done_testing"} = \&finish;
}


sub new {
    my ($class, %opt) = @_;

    become_reaper();
    umask 022;

    # whoever runs the tests may have a database of his own in mind

    delete @ENV{grep { /^(PG|USHER_(ACTOR|DATABASE|KEY_FILE)$)/ } keys %ENV};

    # nor a locale that is not installed, or a proxy, for loopback

    $ENV{LC_ALL} = 'C.UTF-8';
    $ENV{no_proxy} = '127.0.0.1,localhost';

    my ($uid, $gid) = owner();
    my $dir = File::Temp::mkdtemp('/tmp/usher-XXXXXXXX');
    my $build = $ENV{USHER_BUILD} // 'build';

    $build = "$top/$build" unless $build =~ m{^/};

    my $self = bless {
        dir => $dir, build => $build, top => $top, owner => $$,
        node => $opt{node} // 'edge1', servers => {}, nodes => {}, ports => {},
        main => 1, uid => $uid,
    }, $class;

    mkdir "$dir/bin";
    chmod 0755, $dir;
    chown $uid, $gid, $dir;

    # copies: the tree may lie where the servers' user cannot read

    for my $file (glob("$build/*.so"), "$build/usherd", "$build/usherctl") {
        next unless -f $file;
        system('cp', $file, "$dir/bin/") == 0 or die "cp $file failed\n";
    }

    if (-f "$build/test/ngx_http_usher_module.so") {
        File::Copy::copy("$build/test/ngx_http_usher_module.so",
                         "$dir/bin/test.so");
    }

    chmod 0755, glob "$dir/bin/*";
    push @all, $self;

    # also for what a test runs by itself

    %ENV = (%ENV, %{ $self->san_env });

    return $self;
}


sub dir   { $_[0]{dir} }
sub top   { $_[0]{top} }
sub build { $_[0]{build} }
sub san   { $_[0]{san} //= slurp("$_[0]{build}/flags") =~ /-fsanitize/ ? 2 : 1;
            $_[0]{san} == 2 }


# ---- PostgreSQL

sub postgres {
    my ($self) = @_;

    my $dir = $self->{dir};
    my $data = "$dir/pgdata";

    postgres_data($self->{top}, $self->{build}, $data, $dir) unless -d $data;

    return $self->server('postgres', 'INT', sub {
        postgres_start($data, $dir, "$dir/postgres.log");
    });
}


# conninfo; user: postgres, usherd or usherctl

sub dsn {
    my ($self, $user) = @_;

    return "host=$self->{dir} dbname=usher user=" . ($user // 'postgres');
}


sub db {
    my ($self) = @_;

    require DBI;

    my $db = $self->{servers}{postgres}{db};
    return $db if $db && $db->ping;

    (my $dsn = $self->dsn) =~ tr/ /;/;

    return $self->{servers}{postgres}{db}
        = DBI->connect("dbi:Pg:$dsn", '', '',
                       { RaiseError => 1, PrintError => 0, AutoCommit => 1,
                         AutoInactiveDestroy => 1 });
}


# One value where the result is one, otherwise (in list context) the rows.

sub sql {
    my ($self, $sql, @bind) = @_;

    my $st = $self->db->prepare($sql);
    my $n = $st->execute(@bind);

    return $n unless $st->{NUM_OF_FIELDS};

    my $rows = $st->fetchall_arrayref;

    return @$rows ? $rows->[0][0] : undef if !wantarray
        || (@$rows <= 1 && $st->{NUM_OF_FIELDS} == 1);
    return @$rows;
}


# Always a list of rows.

sub rows {
    my ($self, $sql, @bind) = @_;

    return @{ $self->db->selectall_arrayref($sql, undef, @bind) };
}


# ---- Redis

# name => 'redis', persistence => 1, tcp => 1, args => [...]

sub redis {
    my ($self, %opt) = @_;

    my ($uid, $gid) = owner();
    my $name = $opt{name} // 'redis';
    my $dir = "$self->{dir}/$name";

    mkdir $dir;
    chown $uid, $gid, $dir;

    my @cmd = (
        'redis-server', '--port', $opt{tcp} ? $self->port($name) : 0,
        '--bind', '127.0.0.1', '--unixsocket', "$dir.sock", '--dir', $dir,
        '--appendonly', $opt{persistence} ? 'yes' : 'no',
        '--save', '', '--daemonize', 'no', '--loglevel', 'notice',
        @{ $opt{args} || [] },
    );

    return $self->server($name, 'TERM', sub {
        unlink "$dir.sock";

        my $pid = spawn(cmd => \@cmd, out => "$dir.log", dir => $dir);

        sleep_until(sub {
            ($self->redis_cli({ name => $name }, 'ping') // '') eq 'PONG'
        }, 10) or die "Redis does not start:\n", slurp("$dir.log");

        return $pid;
    });
}


# Output of redis-cli: one text, or its lines.  ({ name => 'redis2' }, ...)

sub redis_cli {
    my ($self, @args) = @_;

    my $opt = ref $args[0] ? shift @args : {};
    my $name = $opt->{name} // 'redis';

    @args = split ' ', $args[0] if @args == 1;

    open my $fh, '-|', 'sh', '-c', 'exec "$@" 2>&1', 'sh', 'redis-cli',
         '-s', "$self->{dir}/$name.sock", @args or die "redis-cli: $!\n";
    my @lines = <$fh>;
    close $fh;
    chomp @lines;

    return wantarray ? @lines : join "\n", @lines;
}


sub start_redis { $_[0]->start('redis') }
sub stop_redis  { $_[0]->stop('redis') }


# ---- usherd and usherctl

# name => 'usherd', duties => 'flush,directory', conf => { section => {k => v}}
# (undef takes a line out), wait => 0 not to wait for its duties

sub usherd {
    my ($self, %opt) = @_;

    my $name = $opt{name} // 'usherd';
    my $dir = $self->{dir};
    my $redis = $opt{redis} // 'redis';

    my %conf = (
        postgres => { conninfo => $self->dsn('usherd') },
        redis => { address => "unix:$dir/$redis.sock" },
        usherd => {
            duties => $opt{duties} // 'flush,directory,react,keep',
            metrics => "unix:$dir/$name.metrics", log => 'stderr',
        },
    );

    for my $section (keys %{ $opt{conf} || {} }) {
        for my $key (keys %{ $opt{conf}{$section} }) {
            $conf{$section}{$key} = $opt{conf}{$section}{$key};
        }
    }

    my $text = '';

    for my $section (sort keys %conf) {
        $text .= "[$section]\n";
        $text .= "$_ = $conf{$section}{$_}\n"
            for grep { defined $conf{$section}{$_} }
                sort keys %{ $conf{$section} };
    }

    $self->write_file("$name.conf", $text);

    return $self->server($name, 'TERM', sub {
        unlink "$dir/$name.metrics";
        spawn(cmd => [ "$dir/bin/usherd", '-c', "$dir/$name.conf" ],
              out => "$dir/$name.log", dir => $dir, env => $self->san_env);
    });
}


# What a usherd says of itself; '' if it does not.

sub metrics {
    my ($self, $name) = @_;

    my $s = IO::Socket::UNIX->new(
        Peer => "$self->{dir}/" . ($name // 'usherd') . '.metrics')
        or return '';

    print $s "GET /metrics HTTP/1.0\r\n\r\n";
    local $/;

    return <$s> // '';
}


sub ctl_run {
    my ($self, @args) = @_;

    @args = Text::ParseWords::shellwords($args[0]) if @args == 1;

    local $ENV{USHER_DATABASE} = $ENV{USHER_DATABASE}
                                 // $self->dsn('usherctl');
    local %ENV = (%ENV, %{ $self->san_env });

    open my $fh, '-|', 'sh', '-c', 'exec "$@" 2>"$0" < /dev/null',
         "$self->{dir}/ctl.err", "$self->{dir}/bin/usherctl", @args
        or die "usherctl: $!\n";
    my $out = do { local $/; <$fh> } // '';
    close $fh;

    return ($? >> 8 || $? & 127, $out, slurp("$self->{dir}/ctl.err"));
}


# The decoded answer, good news or not; dies when usherctl does not succeed.

sub ctl {
    my ($self, @args) = @_;

    my ($code, $out, $err) = $self->ctl_run(@args);

    die "usherctl @args: exit $code\n$out$err" if $code && $code != 3;

    return undef if $out !~ /\S/;
    return JSON::PP->new->utf8->allow_nonref->decode($out);
}


# The message of a call that has to fail; undef if it did not.

sub ctl_fails {
    my ($self, @args) = @_;

    my ($code, $out, $err) = $self->ctl_run(@args);

    return $code ? "$out$err" : undef;
}


# ---- servers by name: postgres, redis, usherd, a node, or what was named

sub server {
    my ($self, $name, $signal, $start) = @_;

    $self->{servers}{$name} = { signal => $signal, start => $start };
    $self->start($name);

    return $self;
}


sub find {
    my ($self, $name) = @_;

    $name = $self->{node} if $name eq 'nginx' || $name eq 'master';

    return $self->{servers}{$name} // die "no server $name\n";
}


sub start {
    my ($self, $name) = @_;

    my $s = $self->find($name);

    return if alive($s->{pid});
    $s->{pid} = $s->{start}->();

    return $self;
}


sub stop {
    my ($self, $name) = @_;

    my $s = $self->find($name);

    stop_process($s->{pid}, $s->{signal}, $self->san ? 30 : 15);

    return $self;
}


sub restart { $_[0]->stop($_[1]); $_[0]->start($_[1]) }
sub pid     { $_[0]->find($_[1])->{pid} }
sub running { alive($_[0]->pid($_[1])) }


# Also 'worker' (one of nginx's) and a duty of usherd's.

sub signal {
    my ($self, $name, $signal) = @_;

    my @pids = $name eq 'worker' ? ($self->workers)[0]
             : $name =~ /^(flush|directory|react|keep|health)$/
                             ? $self->duties($1)
             : $self->pid($name);

    kill $signal, grep { $_ } @pids;

    return @pids;
}


# Kills and waits until it has gone; the pid.

sub kill9 {
    my ($self, $name) = @_;

    my @pids = $self->signal($name, 'KILL');

    sleep_until(sub { !grep { alive($_) } @pids }, 10);

    return $pids[0];
}


# pids of a duty's processes, of all usherds

sub duties {
    my ($self, $duty) = @_;

    my @found;

    for my $name (grep { /^usherd/ } keys %{ $self->{servers} }) {
        for my $pid (children($self->{servers}{$name}{pid} // next)) {
            my $comm = slurp("/proc/$pid/comm");
            push @found, $pid if $comm =~ /^$duty\b/;
        }
    }

    return @found;
}


# ---- helpers

# A port of loopback, the same for the same name, below the ephemeral ones.

sub port {
    my ($self, $name) = @_;

    return $self->{ports}{$name} if $self->{ports}{$name};

    for (1 .. 1000) {
        my $port = 10000 + int rand 20000;
        my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port",
                                      Listen => 1, ReuseAddr => 1) or next;
        close $s;
        next if grep { $_ == $port } values %{ $self->{ports} };
        return $self->{ports}{$name} = $port;
    }

    die "no free port\n";
}


sub write_file {
    my ($self, $name, $text) = @_;

    my $file = "$self->{dir}/$name";

    File::Path::make_path(File::Basename::dirname($file));
    open my $fh, '>:raw', $file or die "$file: $!\n";
    print $fh $text;
    close $fh;

    return $file;
}


sub slurp {
    my $file = pop;

    open my $fh, '<:raw', $file or return '';
    local $/;

    return scalar(<$fh>) // '';
}


sub log_of {
    my ($self, $name) = @_;

    return slurp("$self->{dir}/$name.log");
}


# Polls; a passed or failed test named $what.

sub wait_for {
    my ($self, $check, $what, $seconds) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $value = sleep_until(sub { eval { $check->() } },
                            ($seconds // 10) * ($self->san ? 3 : 1));
    diag("last error: $@") if !$value && $@;

    return ok($value, $what);
}


sub san_env {
    my ($self) = @_;

    return {} unless $self->san;

    my $log = "$self->{dir}/sanitizer";

    return {
        ASAN_OPTIONS => "detect_leaks=0:log_path=$log",
        UBSAN_OPTIONS => "print_stacktrace=1:log_path=$log",
    };
}


# ---- the end

sub finish {
    local $Test::Builder::Level = $Test::Builder::Level + 1;

    for my $t (@all) {
        $t->stop_all;
        $t->check_logs;
    }

    Test::More::done_testing(@_);
}


sub stop_all {
    my ($self) = @_;

    my $servers = $self->{servers};
    my %last = (postgres => 2, redis => 1);

    delete $servers->{postgres}{db};

    for my $name (sort { ($last{$a} // 0) <=> ($last{$b} // 0) || $a cmp $b }
                  keys %$servers)
    {
        my $s = $servers->{$name};
        kill 'CONT', $s->{pid} if alive($s->{pid});
        stop_process($s->{pid}, $s->{signal}, 10) if $s->{pid};
    }

    end_children();
}


sub check_logs {
    my ($self) = @_;

    my $expected = $self->{expected_alerts} // qr/exited on signal (9|15)/;

    for my $name (sort keys %{ $self->{nodes} }) {
        my @alerts = grep { /\[(alert|emerg)\]/ && !/$expected/ }
                     split /\n/, $self->on($name)->error_log;
        is("@alerts", '', "no alerts of $name");

        # UBSan's of a worker are there, for its stderr is the log

        my @errors = grep { /runtime error: / }
                     split /\n/, $self->on($name)->error_log;
        is("@errors", '', "no runtime errors of $name") if $self->san;
    }

    my @reports = glob "$self->{dir}/sanitizer*";
    ok(!@reports, 'nothing from a sanitizer') if $self->san;
    diag(substr slurp($_), 0, 4000) for @reports;
}


# What was expected to be in the error log at level alert.

sub expect_alerts { $_[0]{expected_alerts} = $_[1] }


sub tails {
    my ($self) = @_;

    for my $log (glob("$self->{dir}/*.log"), glob("$self->{dir}/*/error.log")) {
        my @lines = split /\n/, slurp($log);
        next unless @lines;
        splice @lines, 0, @lines - 15 if @lines > 15;
        diag(File::Basename::basename($log), ":\n",
             map { "    $_\n" } @lines);
    }
}


END {
    my $status = $?;

    for my $t (grep { $_->{owner} == $$ } @all) {
        local $@;
        eval { $t->stop_all };

        my $bad = $status || !Test::More->builder->is_passing;
        eval { $t->tails } if $bad;

        if ($ENV{USHER_KEEP}) {
            diag("kept: $t->{dir}");

        } else {
            File::Path::remove_tree($t->{dir});
        }
    }

    $? = $status;
}

$SIG{INT} = $SIG{TERM} = $SIG{HUP} = sub { exit 1 };
$SIG{PIPE} = 'IGNORE';


1;
