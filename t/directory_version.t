
# A record of a higher version is never replaced by a lower one, and while a
# lineage is being built nobody is told that a key does not exist.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;

use DBI;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'directory');
$t->ctl('org create name=acme');

my ($known, $other, $third) = map { key_new($t) } 1 .. 3;
my %id = map { $_->{id} => 'key:' . $t->sql(
    "select encode(digest, 'hex') from usher.key where id = ?", $_->{id}) }
    $known, $other, $third;

edge($t, workers => 1);
$t->wait_for(sub { status($t, $known) == 200 }, 'admitted');


sub outbox { $t->sql('select count(*) from usher.directory_outbox') }


# what a writer that was deposed would bring late: a version below the record's

my $text = $t->redis_cli('get', "usher:d:$id{$other->{id}}");
my ($version) = $text =~ /"v":(\d+)/;

$text =~ s/"v":$version/'"v":' . ($version + 1000)/e;
$t->redis_cli('set', "usher:d:$id{$other->{id}}", $text);
$t->sql("update usher.key set scopes = '{late}' where id = ?", $other->{id});
$t->wait_for(sub { !outbox() }, 'the change was projected');
is($t->redis_cli('get', "usher:d:$id{$other->{id}}"), $text,
   'and the record of a higher version stays');
$t->sql("update usher.key set scopes = '{a}' where id = ?", $known->{id});
$t->wait_for(sub { record_is($t, $id{$known->{id}}, 'scope', 'a') },
             'others are replaced');
$t->wait_for(sub { status($t, $known) == 200 }, 'and known again');


# a lineage in the making: the duty waits for the keys, and is then killed

(my $dsn = $t->dsn) =~ tr/ /;/;
my $lock = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

$t->signal('directory', 'STOP');
$lock->begin_work;
$lock->do('lock table usher.key in access exclusive mode');
$t->redis_cli('set', 'usher:d:nonce', 'f' x 16);
$t->redis_cli('del', "usher:d:$id{$third->{id}}");
$t->signal('directory', 'CONT');
$t->wait_for(sub { $t->redis_cli('exists', 'usher:d:building') }, 'it begins');

is($t->redis_cli('exists', 'usher:d:ready'), 0, 'nothing is ready');
is(status($t, $third), 503, 'a key that is not there yet cannot be known');
is(status($t, $known), 200, 'what is known serves');

my ($old) = $t->duties('directory');

kill 'KILL', $old;
$t->wait_for(sub { my ($new) = $t->duties('directory');
                   $new && $new != $old }, 'the duty is killed');
is($t->redis_cli('exists', 'usher:d:ready'), 0, 'still nothing is ready');
is(status($t, $third), 503, 'still it cannot be known');

$lock->rollback;
$lock->disconnect;
$t->wait_for(sub { lineage($t) =~ /^[0-9a-f]{16}$/ }, 'another one builds it');
$t->wait_for(sub { status($t, $third) == 200 }, 'and the key is known');
is(record($t, $id{$other->{id}})->{l}, lineage($t),
   'a record of another lineage is replaced whatever its version');
is(record($t, $id{$other->{id}})->{scope}, 'late', 'by what PostgreSQL has');

done_testing();
