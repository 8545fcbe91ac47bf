# A catalogue into files and out of them into an empty one: links, targets and
# groups, to the last byte; lines of targets and groups that are bad.

use lib 't/lib';
use utf8;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

for my $org (qw(acme beta)) {
    $t->ctl("org create name=$org");
    $t->ctl("domain add host=$_.$org.example org=$org") for qw(go a);
    $t->ctl("network create org=$org name=awin preset=awin");
    $t->ctl("program create org=$org name=shoes side=network network=awin currency=EUR");
}

my $go = 'go.acme.example';
my $url = 'https://shop.example/?clickref={click_id}';

sub files { map { ($t->ctl_run('link', split(/ /, $_), "org=$_[0]"))[1] }
            'export', 'target export', 'group export' }

# every field, and what files have trouble with

$t->ctl('link', 'add', "host=$go", "slug=$_->[0]", "url=$url&b=,$_->[0]", "title=$_->[1]", 'program=shoes')
    for [ 'a', utf8('Grün, „gut“ 😀') ], [ 'b/C', '"' ], [ 'c', "two\nlines" ];
$t->ctl("link add host=a.acme.example slug=z url=https://shop.example/ program=shoes untracked=true "
        . 'dead=ignore cap=20 cap_day=3');
$t->ctl('link', 'target', 'set', "host=$go", 'slug=a', "target=$_->[0]", "url=$url&b=,$_->[0]",
        split ' ', $_->[1])
    for [ 'gone', '' ], [ 'all', 'step=7 weight=0 country=at,de device=mobile os=ios,android '
        . 'language=de-AT,en referrer=*.b.example,a.example starts=2030-01-02T03:04:05.678901Z '
        . 'ends=infinity cap=900 cap_day=70' ], [ 'last', 'ends=2031-01-01' ];
$t->ctl("link target drop host=$go slug=a target=gone");
$t->ctl('link', 'target', 'set', "host=$go", 'slug=a', 'target=first', "url=$url");
$t->ctl('link', 'target', 'set', "host=$go", "slug=$_", 'target=t', "url=$url") for qw(b/C c);
$t->ctl('link', 'group', 'create', 'org=acme', "group=$_->[0]", "title=$_->[1]")
    for [ 'one', utf8('Ä, "x"') ], [ 'none', '' ];
$t->ctl('link', 'group', 'add', 'org=acme', 'group=one', "host=$_->[0]", "slug=$_->[1]")
    for [ $go, 'b/C' ], [ $go, 'a' ], [ 'a.acme.example', 'z' ];

my @files = files('acme');
my @file = map { $t->write_file("$_.csv", $files[$_]) } 0 .. 2;

like($files[0], qr/^a\.acme\.example,z,.*,ignore,true,20,3$/m, 'dead, untracked and caps');
is((split /\n/, $files[1])[2], "$go,a,all,\"$url&b=,all\",7,0,AT DE,mobile,android ios,de-AT en,"
   . '*.b.example a.example,2030-01-02 03:04:05.678901+00,,900,70', 'a target with all that there is');
is(join(' ', $files[1] =~ /^$go,(\S+?,\w+),/mg), 'a,first a,all a,last b/C,t c,t', 'by number');
is($files[2], "group,title,host,slug\nnone,,,\n"
   . join('', map { 'one,"' . utf8('Ä, ""x""') . "\",$_\n" }
          'a.acme.example,z', "$go,a", "$go,b/C"), 'groups, and one without links');

# into the other org, which is empty

sub moved { 'csv=@' . $t->write_file($_[0], $t->slurp($file[$_[1]]) =~ s/acme/beta/gr) }

sub counts { join ' ', map { $_[0]{$_} // 0 } qw(groups added changed unchanged skipped) }

my @import = ([ 'import' ], [ 'target', 'import' ], [ 'group', 'import', 'org=beta' ]);
my @run = map { [ 'link', @{ $import[$_] }, moved("beta$_.csv", $_) ] } 0 .. 2;

like($t->ctl_fails(@{ $run[1] }), qr/csv= line 2: host "go\.beta\.example" has no link "a"/,
     'links come first');
is(join('|', map { counts($t->ctl(@$_)) } @run), '0 4 0 0 0|0 5 0 0 0|2 3 0 0 0', 'there');
is_deeply([ map { s/beta/acme/gr } files('beta') ], \@files, 'and the same to the last byte');
is(join('|', map { counts($t->ctl(@$_)) } @run), '0 0 0 4 0|0 0 0 5 0|0 0 0 3 0', 'again: nothing new');
is($t->sql("select count(*) from usher.audit where function like 'link_%_import'"), 4, 'audited');

# what is there otherwise

sub targets { $t->ctl('link', 'target', 'import', @{ $_[0] },
    'csv=@' . $t->write_file('t.csv', join '', map { "$_\n" } @_[1 .. $#_])) }

my @other = ('host,slug,target,url,weight', "$go,a,all,$url,3", "$go,a,new,$url,");

like($t->ctl_fails('link', 'target', 'import', 'csv=@' . $t->write_file('t.csv', join "\n", @other)),
     qr/csv= line 2: link "a" has another target "all"\nhint: on_conflict=update/, 'fails');
is(counts(targets([ 'on_conflict=skip' ], @other)), '0 1 0 0 1', 'or is left');
is(counts(targets([ 'on_conflict=update' ], @other)), '0 0 1 1 0', 'or is changed');
is(join('|', map { $_->{name} . $_->{weight} . $_->{number} . $_->{country} . ($_->{cap} // '') }
        @{ $t->ctl("link show host=$go slug=a")->{targets} }),
   'first11|last13|new14|all32AT DE900', 'but for what the file does not have');
my $since = $t->sql('select min(cap_since) from usher.link_target');

is(counts(targets([ 'on_conflict=update' ], 'host,slug,target,url,cap,cap_day',
    "$go,a,all,$url,800,", "$go,a,new,$url,0,0")), '0 0 1 1 0', 'a cap, and none');
is($t->sql("select concat_ws(' ', cap, cap_day, cap_since = ?) from usher.link_target
            where name = 'all' and link_id = (select id from usher.link where host = ? and slug = 'a')",
           $since, $go), '800 t', '... which goes on with its count');
is(counts(targets([ 'on_conflict=update' ], 'host,slug,target,url,weight,country',
    map { "$go,a,all,$url,$_," } 4, 4, 5)), '0 0 2 1 0', 'a line comes after those before it');

# bad lines

for my $case (
    [ "$go,a,X,$url,,,", 'target="X" cannot be' ],
    [ "$go,a,x,ftp://x,,,", 'url="ftp://x" cannot be' ],
    [ "$go,a,x,https://shop.example/,,,", 'a link of program "shoes" has no \{click_id\}' ],
    [ "$go,a,x,$url,0,,", 'step=0 cannot be' ],
    [ "$go,a,x,$url,-1,,", 'step="-1" cannot be' ],
    [ "$go,a,x,$url,,Austria,", 'country="AUSTRIA" cannot be' ],
    [ "$go,a,x,$url,,,2026-02-30", 'starts="2026-02-30" cannot be' ],
    [ "$go,nope,x,$url,,,", "host \"$go\" has no link \"nope\"" ],
    [ "go.nope.example,a,x,$url,,,", 'there is no host "go.nope.example"' ],
    [ "$go,a,x,$url", 'has 4 cells, the first line has 7' ],
) {
    like($t->ctl_fails('link', 'target', 'import', 'csv=@' . $t->write_file('bad.csv',
         "host,slug,target,url,step,country,starts\n$go,a,ok,$url,,,\n$case->[0]\n")),
         qr/^usherctl: csv= line 3:? $case->[1]/, "not $case->[0]");
}

like($t->ctl_fails('link', 'target', 'import', 'csv=@' . $t->write_file('bad.csv',
     "host,slug,target,url,cap\n$go,a,ok,$url,\n$go,a,x,$url,$_\n")),
     qr/csv= line 3: cap="$_" cannot be\nhint: A cap is a number of clicks/, "no cap $_")
    for '-1', 'x', '1000000000';
like($t->ctl_fails('link', 'target', 'import', 'csv=@' . $t->write_file('bad.csv', join "\n",
     'host,slug,target,url', map { "$go,a,n$_,$url" } 1 .. 13)),
     qr/csv= line 14: link "a" has 16 targets/, 'nor a 17th');
like($t->ctl_fails('link', 'target', 'import', 'csv=@' . $t->write_file('bad.csv', join "\n",
     'host,slug,target,url', "$go,c,x,$url", map { "$go,a,n$_,$url&b=" . 'x' x 1500 } 1 .. 5)),
     qr/csv= line 3: the link is too long/, 'nor what does not fit');
is(($t->ctl_run(qw(link target export org=acme)))[1] =~ tr/\n//, 7, 'nothing was added');
like($t->ctl_fails('link', 'group', 'import', 'org=acme', 'csv=@' . $t->write_file('bad.csv',
     "group,host,slug\nok,$go,a\n$_->[0]")), qr/csv= line 3: $_->[1]/, "nor $_->[0]")
    for [ 'Bad,,', 'group="Bad" cannot be' ], [ "ok,$go,nope", 'org "acme" has no link "nope" of' ],
        [ 'ok,go.beta.example,a', 'org "acme" has no link "a" of "go.beta' ];
is(counts($t->ctl('link', 'group', 'import', 'org=acme',
    'csv=@' . $t->write_file('g.csv', "group\none\nmore\n"))), '1 0 0 0 0', 'a group by its name');
like(($t->ctl_run(qw(link group export org=acme)))[1], qr/^more,,,\n.*^one,"/ms, '... keeps its title');

# many, in parts, with few words for the edges

$t->sql("insert into usher.link (org_id, host, slug, url)
         select 1, 'a.acme.example', 'm' || i, 'https://shop.example/' from generate_series(1, 12000) i");
$t->sql('delete from usher.directory_outbox');
is(counts(targets([], 'host,slug,target,url', map { "a.acme.example,m$_,x,https://shop.example/$_" }
    1 .. 12_000)), '0 12000 0 0 0', 'many');
cmp_ok($t->sql('select count(*) from usher.directory_outbox'), '<', 40, 'in few words');
my $many = ($t->ctl_run(qw(link target export host=a.acme.example)))[1];
is($many =~ tr/\n//, 12_001, 'out again');
is(scalar(() = $many =~ /^a\.acme\.example,m(\d+),x,https:\/\/shop\.example\/\1,/mg), 12_000, 'each once');

sub utf8 { my $s = shift; utf8::encode($s); return $s }

done_testing();
