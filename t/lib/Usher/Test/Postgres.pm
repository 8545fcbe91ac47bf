package Usher::Test::Postgres;

# PostgreSQL of a test.  A data directory with Usher's schema is made once per
# version of sql/ and kept in the build; each test starts on a copy.

use strict;
use warnings;

use Digest::SHA;
use Exporter 'import';
use Fcntl ':flock';
use File::Path qw(make_path remove_tree);
use POSIX ();

use Usher::Test::Process qw(owner run_as sleep_until spawn stop_process);

our @EXPORT_OK = qw(postgres_bin postgres_conf postgres_data postgres_start);


# The newest server installed; PATH has none of Debian's.

sub postgres_bin {
    my ($program) = @_;

    my @found = sort { ($a =~ /(\d+)/)[0] <=> ($b =~ /(\d+)/)[0] }
                glob '/usr/lib/postgresql/*/bin';

    for my $dir (reverse @found) {
        return "$dir/$program" if -x "$dir/$program" && -x "$dir/initdb";
    }

    return $program;
}


sub postgres_conf {
    my ($dir) = @_;

    return <<"CONF";
listen_addresses = ''
unix_socket_directories = '$dir'
port = 5432
dynamic_shared_memory_type = mmap
shared_buffers = 64MB
max_connections = 100
max_prepared_transactions = 0
fsync = off
timezone = UTC
log_timezone = UTC
lc_messages = C
autovacuum_naptime = 10s
log_line_prefix = '%m [%p] %u '
CONF
}


sub digest {
    my ($top) = @_;

    my $sha = Digest::SHA->new(1);

    # a day: partitions are made a week ahead, and no more

    $sha->add(postgres_bin('postgres'), postgres_conf(''), owner(),
              int(time / 86400));
    $sha->addfile($_) for sort(glob "$top/sql/*.sql"), "$top/util/migrate",
                          __FILE__;

    return substr $sha->hexdigest, 0, 16;
}


# Fills $data (which does not exist) and returns; dies with the log.

sub postgres_data {
    my ($top, $build, $data, $tmp) = @_;

    my $cache = "$build/postgres";
    my $master = "$cache/" . digest($top);

    make_path($cache);
    open my $lock, '>', "$cache/lock" or die "$cache/lock: $!\n";
    flock $lock, LOCK_EX;

    unless (-d $master) {
        make_master($top, "$tmp/master", $tmp);
        remove_tree($_) for grep { -d } glob "$cache/*";
        system('cp', '-a', "$tmp/master", "$master.new") == 0
            or die "cp failed\n";
        rename "$master.new", $master or die "$master: $!\n";
        remove_tree("$tmp/master");
    }

    system('cp', '-a', $master, $data) == 0 or die "cp failed\n";
}


sub make_master {
    my ($top, $data, $tmp) = @_;

    my $log = "$tmp/initdb.log";

    mkdir $data, 0700 or die "$data: $!\n";
    chown owner(), $data;

    my $pid = spawn(out => $log, dir => $tmp, cmd => [
        postgres_bin('initdb'), '-D', $data, '-U', 'postgres', '-A', 'trust',
        '-E', 'UTF8', '--locale', 'C.UTF-8', '--no-sync',
    ]);

    waitpid($pid, 0);
    die "initdb failed:\n", slurp($log) if $?;

    $pid = postgres_start($data, $tmp, "$tmp/initdb.log");

    my $dsn = "host=$tmp dbname=usher user=postgres";
    my $out = psql($tmp, 'postgres', 'create database usher');

    $out .= `USHER_DATABASE='$dsn' '$top/util/migrate' 2>&1 < /dev/null`;
    die "util/migrate failed:\n$out" if $?;

    # people and daemons log in as members of the roles, never as the owner

    psql($tmp, 'usher', 'create role usherd login in role usher_daemon;'
                        . 'create role usherctl login in role usher_api');

    stop_process($pid, 'INT');
}


sub postgres_start {
    my ($data, $dir, $log) = @_;

    open my $fh, '>', "$data/postgresql.auto.conf" or die "$data: $!\n";
    print $fh postgres_conf($dir);
    close $fh;

    my $pid = spawn(out => $log, dir => $dir, dies_by => 3,
                    cmd => [ postgres_bin('postgres'), '-D', $data ]);

    sleep_until(sub { ready($dir) }, 30)
        or die "PostgreSQL does not start:\n", slurp($log);

    return $pid;
}


sub ready {
    my ($dir) = @_;

    return system(postgres_bin('pg_isready'), '-q', '-h', $dir, '-t', 1) == 0;
}


sub psql {
    my ($dir, $db, $sql) = @_;

    my $psql = postgres_bin('psql');
    my $out = `$psql -X -q -h '$dir' -U postgres -d $db \\
               -v ON_ERROR_STOP=1 -c "$sql" 2>&1 < /dev/null`;

    die "psql failed:\n$out" if $?;

    return $out;
}


sub slurp {
    my ($file) = @_;

    open my $fh, '<', $file or return '';
    local $/;

    return scalar <$fh>;
}


1;
