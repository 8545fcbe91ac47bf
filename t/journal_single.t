#!/usr/bin/perl

# Without a master, and the figures of a process in usher_status.  (nginx 1.22
# takes no connection any more once a single process is reloaded.)

use lib 't/lib';
use Usher::Test;
use Usher::Drain;
use Time::HiRes qw(sleep);

my $t = Usher::Test->new;
my $d = Usher::Drain->new($t);


sub conf {
    my ($journal) = @_;

    return Usher::Drain->conf(journal => $journal, server =>
        'location = /status { usher_status; }
         location = /hook { usher_test_hook acme; }');
}

my %opt = (test_module => 1, main => 'master_process off;');

$t->redis;
$t->nginx_conf(conf('size=4m segment=64k window=64k retain=0'), %opt);
$t->nginx(conf('size=4m segment=64k window=64k retain=0'), %opt);

my @lines = map { my @l = $d->feed(40, 500); sleep 0.03; @l } 1 .. 5;

ok($d->drain(sub { $d->lines == 200 }), 'a single process ships');

$t->wait_for(sub { $d->ack;
                   my ($w) = grep { $_->{slot} }
                             @{ $t->get('/status')->json->{workers} };
                   $w && $w->{acked} == 100_000 }, 'its figures', 10);

my ($w) = grep { $_->{slot} } @{ $t->get('/status')->json->{workers} };

is($w->{position}, 100_000, 'position');
is($w->{shipped}, 100_000, 'shipped');
is($w->{window}, 0, 'nothing in the window');
is($w->{slot}, ($d->slots)[0], 'its slot');

push @lines, $d->feed(40, 500);
is($t->post('/hook?id=a', 'x')->status, 204, 'threads work for it');
ok($t->running('nginx'), 'one process all the while');
is(scalar $t->workers, 0, 'without a worker');

# killed; the next one ships what it left

$t->kill9('nginx');
push @lines, grep { /^h1/ } $d->lines if $d->drain(sub { 0 }, 1);
$t->start('nginx');
$t->wait_for(sub { $t->error_log =~ /slot \w+ adopted/ }, 'adopted');
push @lines, $d->feed(40, 500);
ok($d->drain(sub { grep({ /^h1/ } $d->lines) && $d->lines >= 281 }),
   'all is shipped');

my ($hook) = grep { /^h1/ } $d->lines;

push @lines, $hook if !grep { $_ eq $hook } @lines;
is($d->exactly(@lines), '', 'nothing lost, nothing twice');

done_testing();
