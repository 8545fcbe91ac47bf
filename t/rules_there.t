#!/usr/bin/perl

# t/rules.md and t/mutations against the tree: what they name is there.

use v5.36;

use Test::More;


sub slurp ($path) {
    open my $fh, '<', $path or die "$path: $!\n";
    local $/;
    return scalar <$fh>;
}

my $stale = `t/mutate --check`;

is($stale, '', 'the lines and the test of each mutation');
is($?, 0, 'exit code');

my %mutation = map { $_ => 1 } slurp('t/mutations') =~ /^== (\S+)/mg;
my (%named, %test);

for (split /\n/, slurp('t/rules.md')) {
    my @cell = split /\s*(?<!\\)\|\s*/;

    next if @cell < 4 || $cell[1] =~ /^(?:rule|-+)$/;
    $named{$_} = 1 for split /,\s*/, $cell[4] // '';

    # a test's name stands alone, before ":" or ";", or in a list of them

    my $text = $cell[3] =~ s/"[^"]*"//gr;

    $test{$_} = 1 for $text =~ /\b((?!t\/|unit)[a-z]+_[a-z_0-9]+)\b/g;
}

is(join(' ', grep { !$mutation{$_} } sort keys %named), '',
   'each mutation of a rule exists');
is(join(' ', grep { !$named{$_} } sort keys %mutation), '',
   'each mutation is a rule\'s');
is(join(' ', grep { !-f "t/$_.t" && !(() = glob("t/unit/$_.*")) }
             sort keys %test), '', 'each test of a rule exists');

done_testing();
