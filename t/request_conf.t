#!/usr/bin/perl

# The example configurations, and what the READMEs show of nginx.conf, are
# accepted by nginx, and every directive and variable stands in the reference.

use lib 't/lib';
use Usher::Test;
use Usher::Secret;

my $t = Usher::Test->new;
my $dir = $t->dir;
my $nginx = Usher::Test::Nginx::nginx_binary();

mkdir "$dir/$_" for 'html', 'log', 'tmp';


sub accepted {
    my ($name, $text) = @_;

    my %is = (BIN => "$dir/bin", DIR => $dir, REDIS => "unix:$dir/redis.sock",
              PORT => $t->port('x'), NODE => 'edge1', WORKERS => 1);

    $text =~ s/\@([A-Z]+)\@/$is{$1} \/\/ $1/ge;
    $text =~ s{modules/(\S+\.so)}{$dir/bin/$1};
    $text =~ s{^load_module.*\n}{}m if $ENV{USHER_NGINX};
    $text =~ s{/var/log/nginx}{$dir/log};
    $text =~ s{/usr/share/usher/bots}{$t->{top}/conf/bots};
    $text =~ s{listen( +)80;}{"listen$1" . $t->port('y') . ';'}e;
    $text =~ s{127.0.0.1:8080}{'127.0.0.1:' . $t->port('z')}e;
    $text =~ s{^user .*\n}{}m;
    $text .= "\nevents { }\n" unless $text =~ /^events/m;
    $text = "pid $dir/nginx.pid;\n$text" unless $text =~ /^pid/m;

    # Debian's directories for these are root's

    $text =~ s/^http \{\n\K/temporary()/me
        unless $text =~ /_temp_path/;

    my $file = $t->write_file("nginx.conf", $text);

    local %ENV = (%ENV, %{ $t->nginx_env });
    my $said = `$nginx -t -e $dir/error.log -p $dir -c $file 2>&1`;

    is($?, 0, $name) or diag($said);
    unlike($said, qr/\[(warn|error)\]/, 'without a warning');
}


sub temporary {
    return join '', "    access_log off;\n", map { "    ${_}_temp_path $dir/tmp/$_;\n" }
        qw(client_body proxy fastcgi uwsgi scgi);
}


# Lines of a server or of http, with what they need around them.

sub around {
    my ($text, $context) = @_;

    my $zone = join "\n", grep { $text !~ /^\s*(\w+)/ || $_ !~ /^$1\b/ }
               "usher_zone 1m;", "usher_redis unix:$dir/redis.sock;";
    my $server = $context eq 'http' ? "$text\nserver { listen 80; }"
                 : "server {\nlisten 80;\n$text\n}";

    return "load_module modules/ngx_http_usher_module.so;\n"
           . "http {\n$zone\n$server\n}\n";
}


key_file($t, 'keys');
$t->write_file('bots.list', $t->slurp($t->top . '/conf/bots.list'));
accepted("conf/$_", $t->slurp($t->top . "/conf/$_.conf"))
    for 'api', 'trial', 'usher-run';

# blocks of the READMEs

my %blocks;

for my $readme ('README.md', 'conf/README.md', 'conf/links.md',
                'src/README.md')
{
    my $text = $t->slurp($t->top . "/$readme");

    while ($text =~ /^ *```nginx\n(.*?)^ *```$/msg) {
        my $block = $1;
        my $n = ++$blocks{$readme};

        $block = around($block, 'server') unless $block =~ /^http \{/m;
        accepted("$readme, block $n", $block);
    }
}

ok($blocks{'README.md'} && $blocks{'conf/README.md'}, 'there are some');

# defaults in the reference

my $reference = $t->slurp($t->top . '/conf/README.md');
my $code = join '', map { $t->slurp($_) } glob($t->top . '/src/edge/*.c');
my %names = map { $_ => 1 } $code =~ /\{ ngx_string\("(usher_\w+)"\)/g;
my $defaults = 0;

while ($reference =~ /^### (usher_\w+)\n(.*?)(?=^##)/msg) {
    my ($name, $section) = ($1, $2);
    my ($default) = $section =~ /^\| Default \| `(.*;)` \|$/m or next;
    my ($context) = $section =~ /^\| Context \| (.*) \|$/m;

    like($default, qr/^$name /, "$name: its default is of it");
    accepted("$name, default", around($default, $context));
    $defaults++;
}

cmp_ok($defaults, '>', 12, 'there are many');

for my $name (sort keys %names) {
    like($reference, qr/^### $name$|^\| `\$$name` \|/m, "$name is documented");
}

done_testing();
