#!/usr/bin/perl

# The power went: the edge's disk ends before what Redis holds begins, since
# PostgreSQL is set back as well.  What nobody has is skipped by the operator,
# and what only Redis has is stored.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Usher::Test::Process qw(alive);
use Time::HiRes qw(sleep);


my $t = Usher::Test->new;
my $journal = "$t->{dir}/edge1/journal";
my $n = 0;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => { usherd => { batch_age_ms => 20 } });
$t->nginx(Usher::Drain->conf(
    journal => 'size=8m segment=64k window=1m sync=off retain=1h',
    server => 'location /v/ { usher_auth optional; return 204; }'),
    test_module => 1);


# requests that are shipped as an entry each

sub requests { for (1 .. 5) { $n++; $t->get("/v/$n"); sleep 0.03 } }

sub rows { $t->sql('select count(*) from usher.request') }

sub entries {
    $t->redis_cli('exists', $_[0]) && $t->redis_cli('xlen', $_[0]);
}

sub copy { system('cp', '-a', @_) == 0 or die "cp: @_\n" }

sub swap {
    my ($from, $to) = @_;

    system('rm', '-rf', $to) == 0 or die "rm: $to\n";
    copy($from, $to);
}


requests();
$t->wait_for(sub { rows() == 5 }, 'stored before the backup');

my ($slot) = map { s/-//gr } $t->sql('select slot::text from usher.journal');

$t->stop('usherd');
copy($journal, "$t->{dir}/synced");
$t->stop('postgres');
copy("$t->{dir}/pgdata", "$t->{dir}/backup");
$t->start('postgres');
$t->start('usherd');
requests();
$t->wait_for(sub { rows() == 10 }, 'stored after it');
$t->wait_for(sub { !entries("usher:ev:$slot") }, 'and out of Redis');
$t->stop('usherd');
requests();
$t->wait_for(sub { entries("usher:ev:$slot") == 5 }, 'five in Redis only');

my @pids = $t->workers;

$t->kill9('master');
kill 'KILL', @pids;
$t->wait_for(sub { !grep { alive($_) } @pids }, 'the power goes');
swap("$t->{dir}/synced", $journal);
$t->stop('postgres');
swap("$t->{dir}/backup", "$t->{dir}/pgdata");
$t->start('postgres');
is(rows(), 5, 'PostgreSQL is set back');

$t->start('nginx');
$t->start('usherd');
$t->wait_for(sub { $t->log_of('usherd') =~ /has nothing from/ },
             'its edge has less: said', 30);
sleep 2;
is(entries("usher:rest:$slot"), 5, 'what only Redis has is there');

# usherd may die, and the edge retire the slot, before anybody looks

$t->stop('nginx');
$t->redis_cli('hdel', 'usher:slots', $slot);
$t->kill9('usherd');
$t->start('usherd');

my ($to) = $t->log_of('usherd') =~ /nothing from \d+ to (\d+)/;

$t->ctl("journal skip slot=$slot to=$to reason=gone");
$t->wait_for(sub { rows() == 10 }, 'skipped: the rest is stored', 30);
$t->wait_for(sub { !entries("usher:rest:$slot") }, 'and goes');
is($t->sql('select count(distinct request_id) from usher.request'), 10,
   'each once');
is($t->sql('select count(*) from usher.journal_gap'), 1, 'one gap');

done_testing();
