#!/usr/bin/perl

# usher_journal and usher_full: what nginx -t refuses, and that neither it nor
# a failed reload touches a slot.

use lib 't/lib';
use Usher::Test;
use Usher::Drain;

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);


sub refused {
    my ($journal, $why, $server) = @_;

    my ($code, $said) = $t->nginx_test(
        Usher::Drain->conf(journal => $journal, server => $server // ''),
        test_module => 1);

    isnt($code, 0, "refused: $journal" . ($server // ''));
    like($said, $why, 'and why');
    like($said, qr/nginx\.conf:\d+/, 'and where');
}

refused('segment=32k', qr/segment must be at least 64k/);
refused('segment=100000', qr/multiple of 4k/);
refused('segment=2g size=16g', qr/at most 1g/);
refused('size=1m', qr/size must be at least four segments/);
refused('size=bad', qr/invalid parameter "size=bad"/);
refused('size=', qr/invalid parameter "size="/);
refused('window=1m', qr/window must be at least a quarter of segment/);
refused('sync=soon', qr/invalid parameter "sync=soon"/);
refused('sync=0', qr/invalid parameter "sync=0"/);
refused('retain=x', qr/invalid parameter "retain=x"/);
refused('colour=red', qr/invalid parameter "colour=red"/);
refused('sync=1s; usher_journal /tmp/other', qr/is duplicate/);
refused('', qr/takes "pass", "deny" or "drop"/, 'usher_full click never;');
refused('', qr/unknown kind of event "toll"/, 'usher_full toll deny;');
refused('', qr/is duplicate/, 'usher_full hook deny; usher_full hook pass;');

my ($code, $said) = $t->nginx_test(Usher::Drain->conf(
    journal => 'size=1g segment=16m window=64m sync=always retain=1h',
    server => 'usher_full request deny; usher_full click drop;'),
    test_module => 1);

is($code, 0, 'what is right passes') or diag($said);
ok(!-e "$t->{dir}/test/journal", 'a test makes no directory');

# a directory made by the master, for its workers

$t->redis;
$t->nginx(Usher::Drain->conf(server => ''), test_module => 1);

$t->wait_for(sub { -d "$t->{dir}/edge1/journal" }, 'a start does');
is((stat "$t->{dir}/edge1/journal")[4], $t->{uid} || $>, 'for the workers');

my @lines = $d->feed(10);
my @before = $d->dirs;

is(scalar @before, 1, 'one slot');

system('cp', '-a', "$t->{dir}/edge1/journal", "$t->{dir}/copy");

# -t on the running node's own files

my ($bin, @args) = $t->nginx_cmd('edge1');

{
    my $env = $t->nginx_env;

    local %ENV = (%ENV, %$env);
    is(system("$bin -t @args > $t->{dir}/out 2>&1"), 0, 'nginx -t');
}

is_deeply([$d->dirs], \@before, 'touches no slot');

# a reload that fails

$t->nginx_conf(Usher::Drain->conf(server => 'listen nonsense:;'),
               test_module => 1);
ok(!$t->reload, 'a reload fails');
is_deeply([$d->dirs], \@before, 'and touches no slot');
ok($d->drain(sub { $d->lines == 10 }), 'the old process goes on');

push @lines, $d->feed(10);
ok($d->drain(sub { $d->lines == 20 }), 'and on');
is($d->exactly(@lines), '', 'with the same slot');
is_deeply([$d->dirs], \@before, 'the only one');

$t->{expected_alerts} = qr/nonsense|exited on signal/;

done_testing();
