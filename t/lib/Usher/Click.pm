package Usher::Click;

# Ids of clicks, read without any of our C: base32 by RFC 4648, HMAC-SHA256 by
# Digest::SHA.  usher_click.h has the form.
#
#     my $id = read_id($text);          # version, key, time, link, counter
#     ok(signed($text, $secret));
#     ok(signed($text, secret_of($t, $id->{key})));

use strict;
use warnings;

use Digest::SHA 'hmac_sha256';
use Exporter 'import';
use Usher::Secret ();

our @EXPORT = qw(bytes_of read_id secret_of signed);


# The bytes of base32 without padding; undef where a character is none of it.

sub bytes_of {
    my ($text) = @_;

    return if $text !~ /^[a-z2-7]*$/;

    my %digit;
    @digit{'a' .. 'z', 2 .. 7} = 0 .. 31;

    my $bits = join '', map { sprintf '%05b', $digit{$_} } split //, $text;

    return pack 'B*', substr $bits, 0, length($bits) - length($bits) % 8;
}


sub read_id {
    my ($text) = @_;

    my $bytes = bytes_of($text) // return;

    return if length $text != 32;

    my ($first, $time, $link, $counter) = unpack 'C N N N', $bytes;

    return { version => $first >> 4, key => $first & 15, time => $time,
             link => $link, counter => $counter };
}


sub signed {
    my ($text, $secret) = @_;

    my $bytes = bytes_of($text) // return;

    return substr($bytes, 13) eq substr hmac_sha256(substr($bytes, 0, 13),
                                                    $secret), 0, 7;
}


# A click key of the database, opened by the key file.

sub secret_of {
    my ($t, $key) = @_;

    return Usher::Secret::plain($t, "click//$key");
}


1;
