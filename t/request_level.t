#!/usr/bin/perl

# usher_auth_log_level and usher_limit_log_level: refusals are logged at that
# level, and at info by default.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);
my @levels = qw(default info notice warn error);

sub locations {
    my ($level) = @_;

    my $auth = $level eq 'default' ? '' : "usher_auth_log_level $level;";
    my $limit = $level eq 'default' ? '' : "usher_limit_log_level $level;";

    return <<"CONF";
        location /auth/$level/ {
            usher_auth on;
            $auth
            location /auth/$level/dry/ {
                usher_auth_dry_run on;
            }
        }

        location /limit/$level/ {
            usher_limit $level rate=1r/d key=all;
            $limit
        }
CONF
}

my $locations = join '', map { locations($_) } @levels;

$t->nginx(<<"CONF");
    usher_zone 1m;
    usher_redis %%REDIS%%;

    server {
        listen 127.0.0.1:%%PORT%%;
$locations
    }

    server {
        listen 127.0.0.1:%%PORT_quiet%%;
        error_log %%DIR%%/quiet.log notice;
$locations
    }
CONF


# the levels of what a request added to a log and that matches

sub logged {
    my ($file, $port, $uri, $pattern) = @_;

    my $log = $t->dir . "/edge1/$file";
    my $length = -s $log;

    $t->http("GET $uri HTTP/1.0\r\n\r\n", port => $t->port($port));

    my $more = substr $t->slurp($log), $length;

    return join ' ', map { /^\S+ \S+ \[(\w+)\]/ } grep { /$pattern/ }
                     split /\n/, $more;
}


for my $level (@levels) {
    my $is = $level eq 'default' ? 'info' : $level;
    my $kept = $is eq 'info' ? '' : $is;
    my $refused = qr/usher: request refused: no key was sent, key id 0/;
    my $dry = qr/usher: request refused: no key was sent, dry run/;
    my $over = qr/usher: over limit: $level,/;

    is(logged('error.log', 'edge1', "/auth/$level/", $refused), $is,
       "usher_auth_log_level $level");
    is(logged('error.log', 'edge1', "/auth/$level/dry/", $dry), $is,
       'and of a dry run');
    is(logged('quiet.log', 'edge1_quiet', "/auth/$level/", $refused), $kept,
       'to a log that takes notice');

    $t->get("/limit/$level/");

    is(logged('error.log', 'edge1', "/limit/$level/", $over), $is,
       "usher_limit_log_level $level");
    is(logged('quiet.log', 'edge1_quiet', "/limit/$level/", $over), $kept,
       'to a log that takes notice');
}

done_testing();
