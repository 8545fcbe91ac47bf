# util/migrate: an empty cluster, twice, from several hosts at once, and files
# that changed afterwards.

use lib 't/lib';
use Usher::Test;

use DBI;


my $t = Usher::Test->new;

$t->postgres;

my $dir = $t->dir;
my $top = $t->top;

# a tree of its own, in a place with a name that has to be quoted

my $tree = "$dir/it's a tree";
mkdir $tree;
system('cp', '-r', "$top/sql", "$top/util", $tree) == 0 or die "cp failed\n";


sub db {
    return DBI->connect("dbi:Pg:host=$dir;dbname=$_[0];user=postgres", '', '',
                        { RaiseError => 1, PrintError => 0 });
}


sub migrate {
    my (@args) = @_;

    open my $fh, '-|', 'sh', '-c', 'exec "$@" 2>&1 < /dev/null', 'sh',
         "$tree/util/migrate", @args or die "migrate: $!\n";
    my $out = do { local $/; <$fh> };
    close $fh;

    return ($? >> 8, $out);
}


# a cluster that knows nothing of Usher, not even its roles

my $admin = db('postgres');
$admin->do('drop database usher');
$admin->do("drop role $_") for qw(usherd usherctl usher_daemon usher_api
                                  usher_report usher_owner);
$admin->do("create database $_") for qw(one two);

my ($code, $out) = migrate('-n', "host=$dir user=postgres dbname=one");
is($code, 0, 'a dry run');
like($out, qr/no Usher yet/, 'says that all is to do');
is($admin->selectrow_array("select count(*) from pg_roles
                            where rolname like 'usher%'"), 0,
   'and does nothing');

my @children;

for my $name (qw(one one two one two)) {
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        ($code, $out) = migrate("host=$dir user=postgres dbname=$name");
        print STDERR $out if $code;
        require POSIX;
        POSIX::_exit($code);
    }

    push @children, $pid;
}

my $failed = 0;

for my $pid (@children) {
    waitpid($pid, 0);
    $failed++ if $?;
}

is($failed, 0, 'five at once on two databases');

my $one = db('one');
my @files = map { m{([^/]+)$} } sort glob "$top/sql/[0-9]*.sql";
is_deeply([ map { $_->[0] } @{ $one->selectall_arrayref(
                'select name from usher.migration order by name') } ],
          \@files, 'each file was applied once');
is($one->selectrow_array('select count(*) from usher.usage_close'), 1,
   'and its statements ran once');

($code, $out) = migrate("host=$dir user=postgres dbname=one");
is($code, 0, 'again');
is($out, '', 'there is nothing to do');

# a file that changed

open my $fh, '>>', "$tree/sql/$files[0]";
print $fh "\n-- one line more\n";
close $fh;

($code, $out) = migrate("host=$dir user=postgres dbname=one");
isnt($code, 0, 'a changed file is refused');
like($out, qr/\Q$files[0]\E has changed since it was applied/, 'by name');
like($out, qr/hint/i, 'with a hint');

system('cp', "$top/sql/$files[0]", "$tree/sql/") == 0 or die;

# a file that fails leaves nothing behind, and what came before it stays

my %more = (
    '900_good.sql' => 'create table usher.good (a int);',
    '901_bad.sql' => 'create table usher.bad (a int); select 1 / 0;',
);

for my $name (keys %more) {
    open $fh, '>', "$tree/sql/$name";
    print $fh $more{$name};
    close $fh;
}

($code, $out) = migrate("host=$dir user=postgres dbname=one");
isnt($code, 0, 'a failing file fails');
like($out, qr/901_bad\.sql/, 'by name');
ok($one->selectrow_array("select to_regclass('usher.good')"),
   'the file before it is applied');
ok(!$one->selectrow_array("select to_regclass('usher.bad')"),
   'of itself nothing is left');
is($one->selectrow_array("select tableowner from pg_tables
                          where tablename = 'good'"), 'usher_owner',
   'files run as the owner');

# least rights: a member of usher_owner without any other

$admin->do('create role ann login');
$admin->do('grant usher_owner to ann');
$admin->do('create database three owner ann');

($code, $out) = migrate("host=$dir user=ann dbname=three");
like($out, qr/901_bad/, 'a mere member of usher_owner may migrate');
is(db('three')->selectrow_array("select count(*) from pg_extension"), 1,
   'no extension is needed');

$admin->do('create role bob login');
$admin->do('create database four owner bob');
($code, $out) = migrate("host=$dir user=bob dbname=four");
isnt($code, 0, 'somebody else may not');

done_testing();
