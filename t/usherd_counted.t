# What usherd counts, value by value: each counter moves by what happened.

use lib 't/lib';
use Usher::Test;
use Usher::Directory;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->sql('alter function usher.keep_fold() rename to keep_fold_away');
$t->usherd(conf => { usherd => { batch_age_ms => 20, batch_rows => 50 } });

sub value {
    my ($name, $duty) = @_;

    return ($t->metrics =~ /^usherd_$name\{duty="(?:$duty).*"\} (\d+)$/m)[0]
           // -1;
}

# Of flush: what has moved by now, by how much, of those that are named.

my %was;

sub moved {
    join ' ', map { "$_=" . (value("flush_${_}_total", 'flush') - $was{$_}) }
              sort keys %was;
}

sub moves {
    my ($name, %by) = @_;

    $by{$_} //= 0 for keys %was;

    my $want = join ' ', map { "$_=$by{$_}" } sort keys %was;

    $t->wait_for(sub { moved() eq $want }, $name) or diag(moved());
    $was{$_} += $by{$_} for keys %was;
}

my ($slot, $other, $third) = map { Usher::Slot->new($t) } 1 .. 3;

$t->wait_for(sub { value('flush_slots', 'flush') == 3 }, 'three slots');
$was{$_} = value("flush_${_}_total", 'flush')
    for qw(rows bytes transactions entries duplicates rewinds gaps forks stops
           corrupt quarantined conflicts late partitions);

# what is stored

$slot->append($slot->requests(10))->ship;
moves('ten rows', rows => 10, bytes => $slot->end, transactions => 1,
      entries => 1);
my $from = $slot->end;
$slot->append($slot->hook('shop', 'a'), $slot->hook('shop', 'a'))->ship;
moves('a duplicate', rows => 1, bytes => $slot->end - $from, entries => 1,
      transactions => 1, duplicates => 1);

$t->sql("update usher.usage_close set closed_until
         = date_trunc('hour', now(), 'UTC') - interval '2 hours'");
$from = $slot->end;
$slot->append($slot->requests(1, event_time => '2020-01-01 10:11:12.123+00'))
     ->ship;
moves('a late one', rows => 1, bytes => $slot->end - $from, entries => 1,
      transactions => 1, late => 1);

# a batch that is full, and whose position another has moved meanwhile

(my $dsn = $t->dsn) =~ tr/ /;/;
my $db = DBI->connect("dbi:Pg:$dsn", '', '', { RaiseError => 1 });

is(value('flush_backlog', 'flush'), 0, 'no backlog');
$from = value('flush_rollbacks_total', 'flush');
$db->begin_work;
$db->do('lock table usher.journal in share mode');
$other->append($other->requests(60))->ship;
$t->wait_for(sub { value('flush_backlog', 'flush') == 1 }, 'a backlog');
$db->do('update usher.journal set position = ?, rechain = true where slot = ?',
        undef, $other->end, $other->id);
$db->commit;
moves('a conflict', conflicts => 1, entries => 1);
cmp_ok(value('flush_rollbacks_total', 'flush'), '>', $from, 'rolled back');
$t->wait_for(sub { value('flush_backlog', 'flush') == 0 }, 'no backlog again');

# what is wrong with a stream

$from = $slot->end;
$slot->append($slot->requests(100), $slot->requests(1, status => 70000),
              $slot->requests(100))->ship;
moves('poison', rows => 200, bytes => $slot->end - $from, entries => 1,
      transactions => 1, quarantined => 1);
like($t->metrics,
     qr/^usherd_postgres_errors_total\{duty="flush.*class="22"\} [1-9]/m,
     'errors of class 22');

$from = $slot->end;
$slot->append($slot->requests(3));
$slot->hole($from, $slot->end, 'corrupt');
moves('a gap', gaps => 1, bytes => $slot->end - $from, entries => 1,
      transactions => 1);

$from = $slot->end;
$slot->append($slot->requests(3))->ship(count => 7);
moves('a wrong count', corrupt => 1, rewinds => 1, entries => 1);
$slot->takeup($from);
moves('sent well', rows => 3, bytes => $slot->end - $from, entries => 1,
      transactions => 1);
$slot->append("z9\twhat\n")->ship;
moves('an unknown kind', stops => 1, entries => 1);

$third->append($third->requests(3))->ship;
moves('another slot', rows => 3, bytes => $third->end, entries => 1,
      transactions => 1);
my $copy = Usher::Slot->new($t, id => $third->id, unregistered => 1);
$copy->append($copy->requests(9))->takeup(0);
$t->wait_for(sub { value('flush_forks_total', 'flush') == 1 }, 'a fork');

my $day = $t->sql("select to_char(now() at time zone 'UTC', 'YYYYMMDD')");
$t->sql("alter table usher.request detach partition usher.request_$day");
$t->sql("alter table usher.request_$day rename to request_kept");
$other->append($other->requests(2))->ship;
$t->wait_for(sub { value('flush_partitions_total', 'flush') == 1 },
             'a partition');

# the directory

# the keys of clicks are a record, also where there are none

my %dir = (rebuilds => 1, records => 1, batches => 0, refused => 0);

sub is_directory {
    $t->wait_for(sub {
        keys %dir == grep {
            value("directory_${_}_total", 'directory') == $dir{$_}
        } keys %dir;
    }, $_[0]) or diag($t->metrics);
}

is_directory('one rebuild, of no key');
$t->sql("insert into usher.org (name) values ('acme')");
key_make($t, 'one');
@dir{qw(records batches)} = (2, 1);
is_directory('a record');
my $key = 'usher:d:' . key_id('one');
$t->redis_cli('set', $key, $t->redis_cli('get', $key) =~ s/"v":\d/"v":99999/r);
$t->sql("update usher.key set scopes = '{late}'");
@dir{qw(refused batches)} = (1, 2);
is_directory('a record that is refused');
is(value('directory_writer', 'directory'), 1, 'it writes');

# keep; connections, of flush

$t->wait_for(sub { value('keep_errors_total', 'keep') == 1 },
             'an error of keep');

my @connects = qw(postgres_connects_total redis_connects_total);

is(value($_, 'flush'), 1, "$_: one") for @connects;

$t->sql("select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'usherd flush'");
$t->redis_cli('client kill type normal');
$t->wait_for(sub { value($_, 'flush') == 2 }, "$_: two") for @connects;

is(value('redis_errors_total', 'flush'), 0, 'no error of Redis');
$t->redis_cli('set', 'usher:ev:' . $other->id, 'no stream');
$t->wait_for(sub { value('redis_errors_total', 'flush') > 0 }, 'errors');

done_testing();
