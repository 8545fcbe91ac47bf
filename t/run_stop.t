# util/run stop ends what util/run started, orphans of killed masters as well,
# and nothing that somebody else runs with a file of .run.

use lib 't/lib';
use Usher::Test;
use Usher::Test::Process qw(alive children spawn stop_process);

my $t = Usher::Test->new;
my $run = "$t->{dir}/tree/.run";

$t->write_file('tree/util/run', $t->slurp($t->top . '/util/run'));
$t->write_file('tree/.run/log/x', '');
$t->write_file('tree/.run/bin/module.so',
               $t->slurp("$t->{dir}/bin/ngx_http_usher_module.so"));


# An nginx with .run's module, as util/run launches it or otherwise; its pid
# and its workers'.

sub nginx {
    my ($name, %opt) = @_;

    $t->nginx_conf('usher_zone 1m; server { listen 127.0.0.1:%%PORT%%; }',
                   name => $name);

    my $conf = "$t->{dir}/$name/nginx.conf";
    my $text = $t->slurp($conf) =~ s{^load_module .*}
                                    {load_module $run/bin/module.so;}rm;
    $t->write_file("$name/nginx.conf", $text);

    my $pid = spawn(cmd => [ $opt{setsid} ? 'setsid' : (),
                             $t->nginx_cmd($name) ],
                    out => "$t->{dir}/$name.log", dir => $run,
                    env => $t->nginx_env);

    $t->wait_for(sub { my @workers = children($pid) }, "$name runs");

    return ($pid, children($pid));
}

# as "launch" writes it: pid and start, in ticks

sub pid_file {
    my ($name, $pid) = @_;
    my ($rest) = $t->slurp("/proc/$pid/stat") =~ /\) (.*)/s;

    $t->write_file("tree/.run/$name.pid", "$pid " . (split ' ', $rest)[19]
                                          . "\n");
}

sub util_run { qx(sh $t->{dir}/tree/util/run @_ 2>&1) }


my ($mine, @mine) = nginx('mine');
my ($session, @session) = nginx('session', setsid => 1);
my ($ours, @ours) = nginx('ours', setsid => 1);

pid_file('nginx', $ours);
like(util_run('stop'), qr/^stopped$/m, 'util/run stop');
ok(!alive($ours), 'ends the nginx that it started');
ok(alive($mine), 'and not another that has the module of .run loaded');
ok(alive($session), 'nor one of a session of its own');
is((grep { !alive($_) } @mine, @session), 0, 'nor their workers');

# its master was killed: the workers are ours all the same, known by the module
# of .run that they have mapped

SKIP: {
    skip 'a module that is built in has no file', 4
        if $ENV{USHER_NGINX};

    ($ours, @ours) = nginx('ours', setsid => 1);
    pid_file('nginx', $ours);
    kill 'KILL', $ours;
    $t->wait_for(sub { !alive($ours) }, 'killed');
    is((grep { !alive($_) } @ours), 0, 'the workers live on');
    like(util_run('stop'), qr/^stopped$/m, 'util/run stop');
    $t->wait_for(sub { !grep { alive($_) } @ours }, 'ends them');
}

ok(alive($mine) && alive($session), 'and nobody else');

stop_process($_, 'TERM', 10) for $mine, $session;
done_testing();
