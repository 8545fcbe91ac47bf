#!/usr/bin/perl

# The example configurations are accepted by nginx, and every directive and
# variable stands in the reference.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;
my $dir = $t->dir;
my $nginx = Usher::Test::Nginx::nginx_binary();

mkdir "$dir/$_" for 'html', 'log', 'tmp';

for my $name ('api', 'trial', 'usher-run') {
    my $text = $t->slurp($t->top . "/conf/$name.conf");
    my %is = (BIN => "$dir/bin", DIR => $dir, REDIS => "unix:$dir/redis.sock",
              PORT => $t->port('x'), NODE => 'edge1', WORKERS => 1);

    $text =~ s/\@([A-Z]+)\@/$is{$1} \/\/ $1/ge;
    $text =~ s{modules/(\S+\.so)}{$dir/bin/$1};
    $text =~ s{^load_module.*\n}{}m if $ENV{USHER_NGINX};
    $text =~ s{/var/log/nginx}{$dir/log};
    $text =~ s{listen( +)80;}{"listen$1" . $t->port('y') . ';'}e;
    $text =~ s{127.0.0.1:8080}{'127.0.0.1:' . $t->port('z')}e;
    $text =~ s{^user .*\n}{}m;
    $text =~ s{^events}{pid $dir/nginx.pid;\nevents}m unless $text =~ /^pid/m;

    # Debian's directory for these is root's

    $text =~ s/^http \{\n\K/temporary()/me
        unless $text =~ /_temp_path/;

    $t->write_file("$name.conf", $text);

    local %ENV = (%ENV, %{ $t->nginx_env });
    my $said = `$nginx -t -e $dir/error.log -p $dir -c $dir/$name.conf 2>&1`;

    is($?, 0, "conf/$name.conf") or diag($said);
    unlike($said, qr/\[(warn|error)\]/, 'without a warning');
}


sub temporary {
    return join '', map { "    ${_}_temp_path $dir/tmp/$_;\n" }
        qw(client_body proxy fastcgi uwsgi scgi);
}


my $reference = $t->slurp($t->top . '/conf/README.md');
my $code = join '', map { $t->slurp($_) } glob($t->top . '/src/edge/*.c');
my %names = map { $_ => 1 } $code =~ /\{ ngx_string\("(usher_\w+)"\)/g;

for my $name (sort keys %names) {
    like($reference, qr/^### $name$|^\| `\$$name` \|/m, "$name is documented");
}

done_testing();
