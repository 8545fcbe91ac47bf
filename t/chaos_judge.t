# The judge of util/chaos: it must find what is lost or doubled, and allow
# only what a killed worker had open.

use v5.36;

use File::Temp qw(tempdir);
use FindBin;
use lib "$FindBin::Bin/../util/chaos.d";
use Test::More;

use Judge;

my $dir = tempdir(CLEANUP => 1);


sub text ($name, @lines) {
    open my $f, '>', "$dir/$name" or die "$dir/$name: $!\n";
    print $f map { "$_\n" } @lines;
    close $f;

    return "$dir/$name";
}


# What the judge says of a crowd's log, an access log and the rows' ids.

sub judged ($crowd, $logged, $rows, %opt) {
    my $judge = Judge->new(prefix => 'c', edges => ['edge1'], kills => [],
        closings => [], full => {}, %opt);

    $judge->read_crowd(text('crowd', @$crowd));
    $judge->read_logs(text('ids', map { /^\d/ ? $_ : "1.0 10 200 $_" }
                           @$logged));
    $judge->{rows}{$_}++ for @$rows;

    return $judge->judge;
}


sub ids ($result, $what) {
    return join ' ', map { $_->[0] } @{ $result->{$what} };
}


# c-1 and c-2 were answered by worker 10, c-3 was open when it closed.
my @crowd = (
    '1000000 o 1 0 1', '1000000 s 1 c-1', '1001000 a 1 c-1 200 10',
    '1900000 s 1 c-2', '1950000 a 1 c-2 200 10',
    '1960000 s 1 c-3', '2000500 c 1');
my @kill = (kills => [ { edge => 'edge1', pid => 10, at => 2 } ]);

my $r = judged(\@crowd, [qw(c-1 c-2 c-3)], [qw(c-1 c-2 c-3)]);
is(ids($r, 'lost') . ids($r, 'doubled'), '', 'all there');

$r = judged(\@crowd, [qw(c-1 c-2 c-3)], [qw(c-1 c-2 c-3 c-1)]);
is(ids($r, 'doubled'), 'c-1', 'a second row');

$r = judged(\@crowd, ['c-1'], [qw(c-1 c-2)], @kill);
is(ids($r, 'lost'), '', 'nothing lost');
is(ids($r, 'allowed'), 'c-3', 'open when its worker was killed');

$r = judged(\@crowd, ['c-1'], [qw(c-1)], @kill);
is(ids($r, 'allowed'), 'c-2 c-3', 'answered last, not logged yet');

$r = judged(\@crowd, [], [qw(c-2)], @kill);
is(ids($r, 'lost'), 'c-1', 'answered long before');

$r = judged(\@crowd, [qw(c-1 c-2 c-3)], [qw(c-1 c-2)], @kill);
is(ids($r, 'lost'), 'c-3', 'logged: no kill excuses it');

$r = judged(\@crowd, ['c-1'], [qw(c-1 c-2)],
    kills => [ { edge => 'edge1', pid => 11, at => 2 } ]);
is(ids($r, 'lost'), 'c-3', 'another worker was killed');

$r = judged(\@crowd, ['c-1'], [qw(c-1 c-2)]);
is(ids($r, 'lost'), 'c-3', 'nobody was killed');

$r = judged(\@crowd, ['c-1'], [qw(c-1 c-2)],
    closings => [ { edge => 'edge1', at => 1.9 } ]);
is(ids($r, 'unread'), 'c-3', 'an idle connection closed by a reload');

$r = judged(\@crowd, [qw(c-1 c-2 c-3)], ['c-1'], full => { edge1 => 1 });
is($r->{full}{edge1}, 2, 'dropped where the journal was full');

# a click is written down before it is answered, and the crowd's worker 10 was
# killed right after

@crowd = ('1000000 o 1 0 1', '1900000 s 1 c-l1 a p1',
    '1950000 a 1 c-l1 302 10 https://x.example/', '1960000 s 1 c-l2 a p1',
    '2000500 c 1');

$r = judged(\@crowd, [], ['c-l1'], @kill);
is(ids($r, 'lost'), '', 'a click that was answered is there');
is(ids($r, 'allowed'), 'c-l2', 'one that was open may be');

$r = judged(\@crowd, [], [], @kill);
is(ids($r, 'lost'), 'c-l1', 'no kill excuses one that was answered');

$r = judged(\@crowd, ['1.0 10 302 c-l1', '1.0 10 302 c-l2'], ['c-l1'], @kill);
is(ids($r, 'lost'), 'c-l2', 'nor one that was logged');

$r = judged(\@crowd, [], [qw(c-l1 c-l1)], @kill);
is(ids($r, 'doubled'), 'c-l1', 'a second row of a click');

$crowd[2] = '1950000 a 1 c-l1 503 10';
$r = judged(\@crowd, ['1.0 10 503 c-l1'], [], @kill);
is(ids($r, 'lost'), '', 'one that was refused is none');

$r = judged(\@crowd, ['1.0 10 503 c-l1'], ['c-l1'], @kill);
is(ids($r, 'lost'), 'c-l1', 'and has no row');

# words of conversions are none of his business

@crowd = ('1000000 o t1 0 1', '1900000 s t1 c-v1', '2000500 c t1');
$r = judged(\@crowd, [], [], @kill);
is(ids($r, 'lost') . ids($r, 'allowed'), '', 'a word is no request');

done_testing();
