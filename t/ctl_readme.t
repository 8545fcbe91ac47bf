# What the READMEs say can be typed: their examples run as they stand, and
# every command that is named is one, in the one spelling that there is.

use lib 't/lib';
use Usher::Test;
use Usher::Secret qw(key_file);

use Text::ParseWords qw(shellwords);


my %text = map { my $file = $_; open my $fh, '<', $file or die "$file: $!";
                 local $/; $file => scalar <$fh> }
           'README.md', 'CHANGELOG.md', 'util/run', 'conf/links.md',
           glob('*/README.md conf/*.conf');

# what tutorial_links runs

$text{'conf/links.md'} =~ s/^```sh\n.*?^```$//msg;

# on a new database, and on that of util/run, which has an org and a key

for my $case ([ 'README.md' ],
              [ 'sql/README.md', 'org create name=acme', 'key create org=acme' ])
{
    my ($file, @before) = @$case;
    my $t = Usher::Test->new;
    my $n = 0;

    $t->postgres;
    key_file($t, 'keys');
    $t->ctl($_) for @before;

    for my $call ($text{$file} =~ /^(?: {4})?usherctl (.*=.*|journal verify)$/mg) {
        my ($code, $out, $err) = $t->ctl_run(shellwords($call));
        is($code, 0, "$file: $call") or diag($err);
        $n++;
    }

    cmp_ok($n, '>', 3, 'all of them');
    next if $file eq 'README.md';

    # names in running text: `noun verb argument=...`

    my %args = map { $_->[0] => " $_->[1] " } $t->rows(q{
        select replace(f->>'name', '_', ' '), coalesce((select
               string_agg(a->>'name', ' ')
               from jsonb_array_elements(f->'arguments') a), '')
        from jsonb_array_elements(api.catalogue()) f });
    my %nouns = map { /^(\w+)/ => 1 } keys %args;

    for my $name (sort keys %text) {
        my $flat = $name =~ /md$/ ? $text{$name} =~ s/\s+/ /gr : $text{$name};
        my @wrong;

        while ($flat =~ /(?:`|\bctl\ |usherctl\ )(?:usherctl\ )?([a-z_]+(?:\ [a-z_]+(?![a-z_=]))+)
                         ((?:\ [a-z]+=(?:'[^']*'|[^`\ ]*))*)/gx)
        {
            my ($words, $given) = ($1, $2);

            next unless $nouns{(split ' ', $words)[0]};
            push @wrong, "$words$given"
                if !$args{$words}
                   || grep { $args{$words} !~ / $_ / } $given =~ / ([a-z]+)=/g;
        }

        is(join(', ', @wrong), '', "$name: every command is one");
    }
}

done_testing();
