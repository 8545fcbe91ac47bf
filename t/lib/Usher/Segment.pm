package Usher::Segment;

# Segments of dead processes, and what a disk may have done to them; and a
# library that stands between a worker and its disk.
#
#     my ($slot, $dir, @lines) = dead($t, $d, 30, 10);
#     patch($file, $at, $bytes);
#     reboot($file);
#     my @files = used($dir);           # those that hold lines, in order
#     local $ENV{LD_PRELOAD} = library($t, 'bad', $c);

use strict;
use warnings;

use Exporter 'import';
use Fcntl 'SEEK_SET';
use Time::HiRes qw(sleep);

our @EXPORT = qw(dead library patch reboot sealed used);

use constant {
    COMMITTED => 128, NSEALS => 192, HEADER => 4096, SEAL => 32,
};


sub patch {
    my ($file, $at, $bytes) = @_;

    open my $fh, '+<:raw', $file or die "$file: $!";
    sysseek $fh, $at, SEEK_SET;
    syswrite $fh, $bytes;
    close $fh;
}


sub slurp {
    my ($file) = @_;

    local $/;
    open my $fh, '<:raw', $file or die "$file: $!";
    return scalar <$fh>;
}


sub used {
    my ($dir) = @_;

    return grep { substr(slurp($_), HEADER, 2) =~ /^[rhp]1/ }
           sort glob "$dir/*.seg";
}


# Where the last seal of a segment ends.

sub sealed {
    my ($file) = @_;

    my $all = slurp($file);
    my $n = unpack 'Q', substr $all, NSEALS, 8;

    return $n ? unpack 'Q', substr $all, length($all) - $n * SEAL + 8, 8 : 0;
}


# Lines into a slot of a node that is then killed; Redis was away, so that
# nothing was shipped, but all of it is sealed.

sub dead {
    my ($t, $d, $batches, $n, $pause) = @_;

    my %was = map { $_ => 1 } $d->dirs;
    my @lines = map { my @l = $d->feed($n, 500); sleep($pause // 0.04); @l }
                1 .. $batches;
    my ($slot) = grep { !$was{$_} } $d->dirs;
    my $dir = "$t->{dir}/edge1/journal/$slot";

    $t->wait_for(sub { sealed((used($dir))[-1]) == 500 * @lines }, 'sealed');

    my @pids = $t->workers;

    $t->kill9('master');
    kill 'KILL', @pids;
    sleep 0.1;

    return ($slot, $dir, @lines);
}


# As after a power loss: another boot_id, and words that were written long
# before the lines that they should count.

sub reboot {
    my ($file) = @_;

    my $head = substr slurp($file), 0, HEADER;
    my $at = index $head, slurp('/proc/sys/kernel/random/boot_id') =~ s/\s//r;

    substr $head, $at, 8, '00000000';
    patch($file, $at, '00000000');
    patch($file, $at + 40, pack 'V', crc32c(substr $head, 0, $at + 40));
    patch($file, COMMITTED, pack 'Q', 500 + unpack 'Q', substr $head, 24, 8);
    patch($file, NSEALS, pack 'Q', 0);
}


sub crc32c {
    my ($bytes) = @_;
    my $crc = 0xffffffff;

    for my $byte (unpack 'C*', $bytes) {
        $crc ^= $byte;
        $crc = $crc & 1 ? ($crc >> 1) ^ 0x82f63b78 : $crc >> 1 for 1 .. 8;
    }

    return $crc ^ 0xffffffff;
}


sub library {
    my ($t, $name, $c) = @_;

    my $so = "$t->{dir}/$name.so";

    $t->write_file("$name.c", $c);
    system('cc', '-shared', '-fPIC', '-o', $so, "$t->{dir}/$name.c") == 0
        or die 'cc';
    chmod 0755, $so;

    return $so;
}


1;
