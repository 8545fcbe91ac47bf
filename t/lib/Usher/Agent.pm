package Usher::Agent;

# User-Agents of t/data, and what a node says of them.

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw(agents asked browsers);


# Samples of bots.

sub agents {
    my ($t) = @_;

    return grep { !/^# / } split /\n/,
           $t->slurp($t->top . '/t/data/agents-bots.txt');
}


# [device, system, agent], of what is none.

sub browsers {
    my ($t) = @_;

    return map { [split /\t/] } grep { /\t/ } split /\n/,
           $t->slurp($t->top . '/t/data/agents-browsers.txt');
}


# What "location /agent" returns in one line, for each of these headers.

sub asked {
    my ($t, @headers) = @_;

    my @said;

    while (my @some = splice @headers, 0, 250) {
        my $raw = join '', map {
            "GET /agent HTTP/1.1\r\nHost: a\r\n" . ($_ ? "$_\r\n" : '')
                . "\r\n"
        } @some;

        $raw =~ s/\r\n\r\n\z/\r\nConnection: close\r\n\r\n/;
        push @said, $t->http($raw) =~ /\r\n\r\n([^\n]*)\n/g;
    }

    return @said;
}


1;
