#!/usr/bin/perl

# Devices and systems, by client hints and by the User-Agent; no list, no zone.

use lib 't/lib';
use Usher::Test;
use Usher::Agent;

my $t = Usher::Test->new;

$t->nginx(<<'CONF');
    server {
        listen 127.0.0.1:%%PORT%%;

        location /agent { return 200 "$usher_device $usher_os\n"; }

        location /index { rewrite ^ /agent last; }
        location /error { error_page 404 = /agent; return 404; }
    }
CONF

my @browsers = browsers($t);
my @said = asked($t, map { "User-Agent: $_->[2]" } @browsers);

for my $i (0 .. $#browsers) {
    my ($device, $os, $agent) = @{ $browsers[$i] };

    is($said[$i] // '', "$device $os", $agent);
}

# hints: what Chrome sends with an agent that says little

my $windows = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64)';
my $linux = 'Mozilla/5.0 (X11; Linux x86_64)';
my $android = 'Mozilla/5.0 (Linux; Android 10; K)';

for (
    ['?1', 'Android', $android, 'mobile android'],
    ['?0', 'Android', $android, 'tablet android'],
    ['?0', 'Android', "$android Mobile", 'tablet android'],
    ['?1', 'Android', $windows, 'mobile android'],
    ['?0', 'Windows', $windows, 'desktop windows'],
    ['?0', 'macOS', $windows, 'desktop macos'],
    ['?0', 'Linux', $windows, 'desktop linux'],
    ['?0', 'Chrome OS', $linux, 'desktop chromeos'],
    ['?0', 'Chromium OS', $linux, 'desktop chromeos'],
    ['?1', 'iOS', $linux, 'mobile ios'],
    ['?0', 'iOS', $linux, 'tablet ios'],
    ['?0', 'Unknown', $windows, 'desktop windows'],
    ['?0', 'Fuchsia', 'Mozilla/5.0', 'desktop other'],
    ['?1', 'Fuchsia', 'Mozilla/5.0', 'mobile other'],
    ['1', 'Windows', 'Mozilla/5.0', 'desktop windows'],
    ['?1', 'Linux', "$linux SmartTV", 'tv linux'],
) {
    my ($mobile, $platform, $agent, $is) = @$_;

    is((asked($t, "Sec-CH-UA-Mobile: $mobile\r\nUser-Agent: $agent\r\n"
                  . "Sec-CH-UA-Platform: \"$platform\""))[0],
       $is, "$mobile \"$platform\": $is");
}

is((asked($t, "Sec-CH-UA-Platform: Windows\r\nUser-Agent: Mozilla/5.0"))[0],
   'unknown other', 'a platform without quotes is none');
is((asked($t, "Sec-CH-UA-Mobile: ?1\r\nUser-Agent: $windows"))[0],
   'mobile windows', 'one hint alone');
is((asked($t, "Sec-CH-UA-Platform: \"macOS\"\r\nUser-Agent: $windows"))[0],
   'desktop macos', 'or the other');
is((asked($t, "Sec-CH-UA-Mobile: ?1\r\nSec-CH-UA-Platform: \"Android\""))[0],
   'mobile android', 'hints without an agent');
is((asked($t, ''))[0], 'unknown other', 'nothing');

# wherever it is asked

for my $uri ('/index', '/error') {
    is($t->get($uri, 'User-Agent' => "$android Mobile")->body,
       "mobile android\n", "through $uri");
}

done_testing();
