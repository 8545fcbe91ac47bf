package Usher::World;

# A world to break: Usher::Test with edges for util/chaos, and what one can do
# to servers beyond ending them.

use v5.36;

use File::Path qw(remove_tree);
use Time::HiRes qw(sleep time);

use Usher::Test ();
use Usher::Test::Postgres qw(postgres_bin);
use Usher::Test::Process qw(alive children sleep_until spawn stop_process);

our @ISA = ('Usher::Test');


sub await ($self, $what, $check, $seconds = 20) {
    return sleep_until($check, $seconds) || die "$what: not within $seconds s\n";
}


# Runs a program to its end as the servers' user.

sub run ($self, @command) {
    my $log = "$self->{dir}/run.log";
    my $pid = spawn(cmd => \@command, out => $log, dir => $self->{dir});

    waitpid $pid, 0;
    die "@command failed:\n" . $self->slurp($log) if $?;
}


# kill -9, and its children too once they have noticed, or else.

sub murder ($self, $name, $orphans = 0) {
    my $pid = $self->pid($name);

    return if !alive($pid);

    # stopped first: no child may be born after they were counted

    kill 'STOP', $pid;
    sleep_until(sub { $self->stopped($name) || !alive($pid) }, 5);

    my @children = children($pid);

    kill 'KILL', $pid;
    $self->await("end of $name", sub { !alive($pid) });
    return @children if $orphans;
    $self->gone(@children);
}


sub gone ($self, @pids) {
    $self->await("end of @pids", sub { !grep { alive($_) } @pids });
}


# ---- PostgreSQL and Redis


sub backup ($self, $name) {
    $self->run(postgres_bin('pg_basebackup'), '-D', "$self->{dir}/$name",
        '-h', $self->{dir}, '-U', 'postgres', '-c', 'fast', '-X', 'stream',
        '--no-sync');
}


sub restore ($self, $name) {
    $self->stop('postgres');
    remove_tree("$self->{dir}/pgdata");
    $self->run('cp', '-a', "$self->{dir}/$name", "$self->{dir}/pgdata");
    $self->start('postgres');
}


# What Redis would have without persistence: nothing.

sub forget ($self) {
    remove_tree("$self->{dir}/redis/appendonlydir");
}


sub stopped ($self, $name) {
    return $self->slurp("/proc/@{[ $self->pid($name) ]}/stat") =~ /\) T /;
}


# ---- edges


# A disk of its own for a journal, so that it can be full; 0 if we may not.

sub disk ($self, $dir, $size) {
    my ($uid, $gid) = Usher::Test::Process::owner();

    return 0 if $>;
    mkdir $dir;
    system("mount -t tmpfs -o size=$size,uid=$uid,gid=$gid usher $dir "
        . '2>/dev/null') == 0 or return 0;
    push @{ $self->{disks} }, $dir;

    return 1;
}


sub stop_all ($self) {
    $self->SUPER::stop_all;
    system('umount', $_) for splice @{ $self->{disks} // [] };
}


# HTTP/1.1 on its port, HTTP/2 on the second; http, server and location are
# pieces of the configuration.  The access log is a witness for Judge.

sub edge ($self, $name, %opt) {
    my ($uid, $gid) = Usher::Test::Process::owner();

    $opt{server} //= '';
    mkdir "$self->{dir}/$name";
    chown $uid, $gid, "$self->{dir}/$name";

    if (!-d "$self->{dir}/$name/journal") {
        mkdir "$self->{dir}/$name/journal";
        chown $uid, $gid, "$self->{dir}/$name/journal";
    }

    $self->nginx(<<~END, name => $name, workers => 2);
        log_format ids '\$msec \$pid \$status \$http_x_request_id';
        sendfile on;
        tcp_nopush on;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
        default_type application/json;

        usher_node %%NODE%%;
        usher_redis %%REDIS%%;
        $opt{http}

        server {
            listen 127.0.0.1:%%PORT%%;
            root $self->{dir}/www;
            add_header X-Worker \$pid always;

            location / {
                access_log %%DIR%%/ids.log ids;
                $opt{location}
            }

            $opt{server}

            location = /usher/status {
                usher_event off;
                usher_status;
            }

            location = /usher/metrics {
                usher_event off;
                usher_metrics;
            }
        }

        server {
            listen 127.0.0.1:%%PORT_2%% http2;
            root $self->{dir}/www;

            location / {
                access_log %%DIR%%/ids.log ids;
                sub_filter_types *;
                sub_filter '\@PID\@' '\$pid';
                $opt{location}
            }

            $opt{server}
        }
        END
}


sub targets ($self, @names) {
    return map { $self->port($_) . ':' . $self->port("${_}_2") } @names;
}


# usher_<name> of the metrics, all labels summed; undef without an answer.

sub metric ($self, $edge, $name) {
    my $text = $self->on($edge)->get('/usher/metrics')->body;
    my $sum;

    $sum = ($sum // 0) + $_
        for $text =~ /^\Q$name\E(?:\{[^}]*\})? ([0-9.e+]+)$/mg;

    return $sum;
}


1;
