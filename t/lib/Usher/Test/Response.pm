package Usher::Test::Response;

# A response: as a string it is the raw text, so that it can be matched.

use strict;
use warnings;

use overload '""' => sub { $_[0]{raw} }, 'bool' => sub { 1 }, fallback => 1;

use JSON::PP ();


sub new {
    my ($class, $raw) = @_;

    my $self = bless { raw => $raw, headers => {} }, $class;
    my ($head, $body) = split /\r\n\r\n/, $raw, 2;
    my ($line, @fields) = split /\r\n/, $head // '';

    ($self->{status}) = ($line // '') =~ m{^HTTP/1\.\d (\d+)};

    for (@fields) {
        my ($name, $value) = /^([^:]+):\s*(.*)$/ or next;
        push @{ $self->{headers}{lc $name} }, $value;
    }

    if (($self->header('Transfer-Encoding') // '') eq 'chunked') {
        my $text = '';

        $body //= '';

        while ($body =~ s/^([0-9a-f]+)\r\n//i && hex $1) {
            $text .= substr $body, 0, hex $1;
            substr $body, 0, 2 + hex $1, '';
        }

        $body = $text;
    }

    $self->{body} = $body // '';

    return $self;
}


sub raw    { $_[0]{raw} }
sub status { $_[0]{status} // 0 }
sub body   { $_[0]{body} }
sub json   { JSON::PP->new->utf8->allow_nonref->decode($_[0]{body}) }


# The values of a field, joined; all of them in list context.

sub header {
    my ($self, $name) = @_;

    my $values = $self->{headers}{lc $name};

    return $values ? @$values : () if wantarray;
    return $values ? join(', ', @$values) : undef;
}


1;
