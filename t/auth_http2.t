#!/usr/bin/perl

# HTTP/2: streams of one connection that wait for Redis side by side, and
# streams that their client resets while they wait.

use lib 't/lib';
use Usher::Test;
use Usher::Key;

use IO::Select;

my $t = Usher::Test->new;
$t->redis;

my $d = Usher::Key->new($t);

$t->nginx(<<'CONF');
    usher_zone 1m;
    usher_redis %%REDIS%%;
    log_format test "$uri $status $usher_auth_status $http_x_api_key";

    server {
        listen 127.0.0.1:%%PORT%% http2;
        access_log %%DIR%%/access.log test;
        usher_auth on;
        usher_limit one rate=2r/d key=$usher_key_id;
    }
CONF

$t->write_file('edge1/html/index.html', 'content');

my ($worker) = $t->workers;
my $log = $t->dir . '/edge1/access.log';

sub frame {
    my ($type, $flags, $stream, $text) = @_;

    return substr(pack('N', length $text), 1)
           . pack('CCN', $type, $flags, $stream) . $text;
}


# HEADERS, each field a literal that is in no table, and the stream's end

sub ask {
    my ($stream, $path, @fields) = @_;

    my $text = '';

    @fields = (':method' => 'GET', ':scheme' => 'http', ':path' => $path,
               ':authority' => 'a', @fields);

    while (my ($name, $value) = splice @fields, 0, 2) {
        $text .= "\0" . pack('C/a* C/a*', $name, $value);
    }

    return frame(1, 5, $stream, $text);
}


sub reset_stream { frame(3, 0, $_[0], pack('N', 8)) }


sub begin {
    my $s = $t->connect;

    $s->autoflush(1);
    print $s "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", frame(4, 0, 0, '');

    return $s;
}


# Reads until n streams have ended: their statuses, by stream.

sub statuses {
    my ($s, $n) = @_;

    my $select = IO::Select->new($s);
    my ($text, $ended, %is) = ('', 0);

    while ($ended < $n && $select->can_read(20)) {
        sysread $s, $text, 65536, length $text or last;

        while (length $text >= 9) {
            my $len = unpack 'N', "\0" . substr $text, 0, 3;
            last if length $text < 9 + $len;

            my ($type, $flags, $stream) = unpack 'x3CCN', $text;
            my $load = substr $text, 9, $len;

            $text = substr $text, 9 + $len;

            if ($type == 1) {
                $load =~ s/^\x20//;      # a new size of the table
                $is{$stream} = $load =~ /^\x88/ ? 200
                             : $load =~ /^[\x08\x48]\x03(\d+)/ ? $1 : '?';
            }

            $ended++ if $type < 2 && $flags & 1 || $type == 3;
        }
    }

    return join ' ', map { "$_:$is{$_}" } sort { $a <=> $b } keys %is;
}


# all of them are misses

my @keys = map { $d->key } 1 .. 3;
my $s = begin();

print $s ask(1, '/', 'x-api-key' => $keys[0]),
         ask(3, '/', 'x-api-key' => $keys[0]),
         ask(5, '/', 'x-api-key' => $keys[1]),
         ask(7, '/', 'authorization' => "Bearer $keys[2]"),
         ask(9, '/', 'x-api-key' => Usher::Key::text());
is(statuses($s, 5), '1:200 3:200 5:200 7:200 9:401',
   'five streams wait side by side');

print $s ask(11, '/', 'x-api-key' => $keys[0]);
is(statuses($s, 1), '11:429', 'what they took');

# Redis says nothing: streams wait until their deadline, or are reset

@keys = map { $d->key } 1 .. 3;
$t->signal('redis', 'STOP');

print $s ask(13, '/reset', 'x-api-key' => $keys[0]), reset_stream(13),
         ask(15, '/', 'x-api-key' => $keys[0]),
         ask(17, '/reset', 'x-api-key' => $keys[1]), reset_stream(17);
is(statuses($s, 1), '15:503', 'reset streams beside one that is answered');

my $gone = begin();
print $gone map { ask(2 * $_ + 1, '/gone', 'x-api-key' => $keys[2]) } 0 .. 9;
print $gone map { reset_stream(2 * $_ + 1) } 0 .. 4;
$t->wait_for(sub { $t->slurp($log) =~ m{^/gone 499 }m }, 'streams reset');
close $gone;

$t->wait_for(sub { 12 == (() = $t->slurp($log) =~ m{^/(?:reset|gone) }mg) },
             'a connection closed with streams that wait: each is logged');
$t->signal('redis', 'CONT');

$t->wait_for(sub {
    my $s = begin();
    print $s ask(1, '/', 'x-api-key' => $keys[2]);
    statuses($s, 1) eq '1:200';
}, 'one of their keys afterwards');

is(join(' ', $t->workers), $worker, 'the worker lives');
unlike($t->slurp($log), qr/_live_/, 'no key in the log');

done_testing();
