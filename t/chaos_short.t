# Everything that can die dies once, under load: util/chaos in its short form.
# What it checks, and how, is in util/chaos.d/Judge.pm and Books.pm;
# chaos_judge.t and chaos_books.t hold these to account.

use v5.36;

use FindBin;
use Test::More;

my $chaos = "$FindBin::Bin/../util/chaos";
my $output = '';

open my $pipe, '-|', $^X, $chaos, '--short' or die "$chaos: $!\n";
while (my $line = <$pipe>) {
    note($line);
    $output .= $line;
}
close $pipe;

my ($seed) = $output =~ /^# seed (\d+)/;

is($?, 0, "nothing lost, nothing doubled (seed $seed)")
    or diag($output =~ s/^# +\d.*\n//mgr);
like($output, qr/^OK$/m, 'and it said so');

done_testing();
