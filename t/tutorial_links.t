# conf/links.md is followed as a stranger does: each block is typed into a shell
# on a terminal, in order, and what is said is what the page shows, but for
# times, ids and what "..." stands for.

use lib 't/lib';
use Usher::Secret qw(click_key);
use Usher::Test;

plan(skip_all => 'needs script(1)')
    if system('script -qec true /dev/null < /dev/null > /dev/null 2>&1');

my $t = Usher::Test->new;
my $dir = $t->dir;

# what util/run makes: servers, a role, an org, a click key, and files in .run

$t->postgres;
$t->redis;
$t->sql('create role operator login in role usher_api');
$t->ctl('org create name=acme');
$t->nginx('', nogo => 1);
click_key($t);

my $metrics = $t->port('metrics');
my $conf = $t->slurp($t->top . '/conf/usher-run.conf');

$t->usherd(duties => 'flush,directory,react,keep,health',
           conf => { usherd => { metrics => "127.0.0.1:$metrics" } });
$t->write_file('edge1/bots.list', $t->slurp($t->top . '/conf/bots.list'));

my %is = (BIN => "$dir/bin", DIR => "$dir/edge1", NODE => 'edge1', WORKERS => 2,
          REDIS => "unix:$dir/redis.sock", PORT => $t->port('edge1'));

$conf =~ s/\@([A-Z]+)\@/$is{$1} \/\/ $&/ge;
$conf =~ s/^load_module.*\n//m if $ENV{USHER_NGINX};
$t->write_file('edge1/nginx.conf', $conf);
$t->server('edge1', 'TERM', sub { $t->nginx_start('edge1') });

mkdir "$dir/.run";
symlink "$dir/bin", "$dir/build";
symlink "$dir/keys", "$dir/.run/keys";
$t->write_file('.run/sockets', "$dir\n");
$t->write_file('.run/ports', "http=$is{PORT}\nmetrics=$metrics\n");
$t->write_file('.run/redis.pid', $t->pid('redis') . " 0\n");
$t->write_file('vars', '');


# What a block says; variables stay for the next one.

sub typed {
    my ($block) = @_;

    $t->write_file('block', $block);
    $t->write_file('shell', "stty cols 80\ncd $dir\nset -a\n. $dir/vars\n"
                            . ". $dir/block\nexport -p > $dir/vars\n");

    my $said = `script -qec "sh $dir/shell" /dev/null < /dev/null`;

    # colours and links of curl, and two kinds of blanks

    $said =~ s/\e\][^\e]*\e\\|\e\[[0-9;]*m//g;
    $said =~ s/…/.../g;
    $said =~ s/[ \t\r]+/ /g;

    return $said;
}


# The page's output as a regex.

sub pattern {
    my ($shown) = @_;

    $shown =~ s/[ \t]+/ /g;

    my $p = join '\s*', map { quotemeta } split /\n/, $shown;

    $p =~ s/(?:\\\.){3}/.*?/g;
    $p =~ s/\d{4}\\-\d\d\\-\d\d\\ \d\d\\:\d\d\\:\d\d/[-\\d]{10} [:\\d]{8}/g;
    $p =~ s/(?<![a-z2-7])([a-z2-7]{32}|[a-z2-7]{26})(?![a-z2-7])/
            '[a-z2-7]{' . length($1) . '}'/gex;
    $p =~ s/localhost\\:8080/localhost:$is{PORT}/g;
    $p =~ s/lag_ms\S*\\\ \K\d+/\\d+/g;
    $p =~ s/\d+(?=\\ https\\:\\\/\\\/[ab]\\\.)/\\d+/g;

    return qr/^\s*$p\s*$/s;
}


# What only looks is typed until it is there; all else once.

sub looks {
    $_[0] !~ /^(?!usherctl [a-z ]+ (?:show|list|stats|health|verify)\b)/m
}


# What was changed is at the edge.

sub settled {
    return if !$t->running('redis');

    $t->wait_for(sub {
        my ($last) = $t->redis_cli('xinfo stream usher:changes')
                     =~ /last-generated-id\n(\d+)-/;

        return !$t->sql('select count(*) from usher.directory_outbox')
               && $t->get('/usher/status')->json->{directory}{change}
                  >= ($last // 0);
    }, 'the edge knows');
}

$t->wait_for(sub { $t->get('/usher/status')->json->{directory}{ready} },
             'the directory is whole');

my $page = $t->slurp($t->top . '/conf/links.md');
my ($section, $blocks, $shown) = ('', 0, 0);

while ($page =~ /^\#\# ([^\n]*)$ | ^\ {4}(util\/run)$
                 | ^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)? /msgx)
{
    my ($title, $run, $block, $out) = ($1, $2, $3, $4);

    $section = $title if $title;

    if ($run && !$t->running('redis')) {
        $t->restart('redis');
        $t->wait_for(sub { $t->redis_cli('get usher:d:ready') =~ /^\w/ },
                     'the directory is whole again');
    }

    next if !$block;

    settled();

    my $said = typed($block);
    my ($name) = "$section: $block" =~ /^(.*)/;

    $blocks++;

    if (!defined $out) {
        unlike($said, qr/usherctl:|not found|syntax/, $name);
        next;
    }

    my $is = pattern($out);
    my $n = $t->san ? 600 : 200;

    while (looks($block) && $said !~ $is && $n--) {
        select undef, undef, undef, 0.1;
        $said = typed($block);
    }

    like($said, $is, $name);
    $shown++;
}

cmp_ok($blocks, '>', 20, 'all blocks');
cmp_ok($shown, '>', 18, 'most of them with what they say');
ok($t->ctl('journal verify')->{ok}, 'and nothing is missing');

done_testing();
