#!/usr/bin/perl

# The power goes while Redis has lines that the disk has not, and PostgreSQL is
# set back to before what Redis still has.  The disk has what lies between: both
# are needed, and neither may go for the other.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $dir = "$t->{dir}/edge1/journal";
my $n = 0;

$t->expect_alerts(qr/exited on signal 9/);

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });
$t->nginx(Usher::Drain->conf(
    journal => 'size=8m segment=64k window=1m sync=off retain=1h',
    server => 'location /v/ { usher_auth optional; return 204; }'),
    test_module => 1);


# Each in an entry of its own.

sub requests {
    for (1 .. $_[0]) {
        $n++;
        is($t->get("/v/$n")->status, 204, "request $n");
        sleep 0.03;
    }
}


sub rows { $t->sql('select count(*) from usher.request') }

sub stream {
    return $t->redis_cli('xinfo', 'stream', "usher:ev:$_[0]") =~
           /length\s+(\d+)/ ? $1 : 0;
}


sub copy { system('cp', '-a', @_) == 0 or die "cp: @_\n" }

sub swap {
    system('rm', '-rf', $_[1]) == 0 or die 'rm';
    copy(@_);
}

# a backup, and more that goes out of Redis once it is stored

requests(5);
$t->wait_for(sub { rows() == 5 }, 'stored before the backup');
my ($slot) = map { s/-//gr } $t->sql('select slot::text from usher.journal');

$t->stop('usherd');
$t->stop('postgres');
copy("$t->{dir}/pgdata", "$t->{dir}/backup");
$t->start('postgres');
$t->start('usherd');

requests(5);
$t->wait_for(sub { rows() == 10 }, 'stored after it');
$t->wait_for(sub { stream($slot) == 0 }, 'and out of Redis');

# more in Redis alone; the disk is as it was in the midst of that

$t->stop('usherd');
requests(5);
$t->wait_for(sub { stream($slot) == 5 }, 'five in Redis');
copy($dir, "$t->{dir}/synced");
requests(5);
$t->wait_for(sub { stream($slot) == 10 }, 'five more');

my @pids = $t->workers;
$t->kill9('master');
kill 'KILL', @pids;
sleep 0.1;
swap("$t->{dir}/synced", $dir);

$t->stop('postgres');
swap("$t->{dir}/backup", "$t->{dir}/pgdata");
$t->start('postgres');
is(rows(), 5, 'PostgreSQL is set back');

# both come back

$t->start('nginx');
$t->start('usherd');
$t->wait_for(sub { $t->redis_cli('exists', "usher:rest:$slot") },
             'what Redis has is put aside', 20);
$t->kill9('flush');
$t->wait_for(sub { rows() == 15 }, 'what only the disk has', 40);
$t->wait_for(sub { rows() == 20 }, 'and what only Redis has', 40);
is($t->sql('select count(distinct uri) from usher.request'), 20,
   'each of them once');
is($t->sql('select count(*) from usher.journal_gap'), 0, 'no gap');
$t->wait_for(sub { stream($slot) == 0 && !$t->redis_cli('keys usher:rest*') },
             'nothing is left in Redis');

done_testing();
