# Where a secret is not: the list of processes, what is sent to PostgreSQL and
# what it logs, shows, dumps and audits, what usherctl prints.

use lib 't/lib';
use Usher::Test;
use Usher::Click;
use Usher::Secret;

use MIME::Base64 qw(encode_base64);
use Usher::Test::Postgres qw(postgres_bin);
use Usher::Test::Process qw(alive command_of spawn);


my $t = Usher::Test->new;
my $row = 'source/acme/shop';
my $secret = 'Tr0ub4dor-and-3';
my $file = $t->write_file('given', $secret);
my $key_file = key_file($t, 'keys');
my @never = ($secret, unpack('H*', $secret), encode_base64($secret, ''),
             $t->slurp($key_file) =~ /^\d+ (\S+)/m);

$t->postgres;
$t->sql("alter system set $_")
    for "log_statement = 'all'", 'log_min_error_statement = debug5',
        'log_parameter_max_length_on_error = -1', 'debug_print_parse = on';
$t->sql('select pg_reload_conf()');
$t->ctl('org create name=acme');


sub said { return join '', ($t->ctl_run(@_))[1, 2] }

sub hides {
    my ($what, $text) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    ok(length $text, "$what: there is something");
    is(join(' ', grep { index($text, $_) >= 0 } @never), '',
       '... without the secret, or the key');
}


# while it is put

my $other = $t->db->clone;

put($t, $row, 'another');
$other->begin_work;
$other->do('select 1 from usher.secret for update');

my $pid = spawn(cmd => [ "$t->{dir}/bin/usherctl",
                         call('put', $row, "value=\@$file") ],
                out => "$t->{dir}/put", as_root => 1,
                env => { %{ $t->san_env }, USHER_DATABASE => $t->dsn('usherctl') });

my $query = "select query from pg_stat_activity where wait_event_type = 'Lock'";

$t->wait_for(sub { $t->sql($query) }, 'it is being put');
hides('processes', command_of($pid));
hides('pg_stat_activity', $t->sql($query));
hides('the log meanwhile', $t->log_of('postgres'));
$other->rollback;
$t->wait_for(sub { !alive($pid) }, 'it is put');
is(plain($t, $row), $secret, 'and it is what was given');
hides('the answer', $t->slurp("$t->{dir}/put"));

# whatever is done with it

my $before = sealed($t, $row);

hides('show', said(call('show', $row)));
hides('list', said('secret list'));
key_file($t, 'new', 'keys');
hides('recrypt', said('secret recrypt'));
hides('retire', said(call('retire', $row)));
hides('what fails', said(call('put', $row, "value=\@$file")));
hides('what is no secret', said(call('put', 'nothing/acme/x', "value=\@$file")));
hides('nor for whom', said('--actor', 'nobody', call('put', $row, "value=\@$file")));
my $after = sealed($t, $row);
hides('drop', said(call('drop', $row)));

my $answer = said('click_key rotate');
my $click = secret_of($t, 0);
push @never, $click, unpack('H*', $click), encode_base64($click, '');
hides('a click key', $answer);

# what is left of it

my $log = $t->log_of('postgres');
my $audit = $t->sql('select jsonb_agg(a)::text from usher.audit a');

hides('the log', $log);
like($log, qr/secret_put.*\n.*parameters: .*\Q$before\E/m,
     'which has what was sent: the ciphertext');
is($t->sql("select count(*) from usher.audit where function ~ '^secret'"), 5,
   'each change is in the audit');
hides('the audit', $audit);
unlike($audit, qr/\Q$_\E/, '... nor a ciphertext') for $before, $after,
                                                     sealed($t, 'click//0');
put($t, $row, $secret);
my $dump = postgres_bin('pg_dump');
hides('a dump', scalar `'$dump' -h $t->{dir} -U postgres usher`);
hides('the files', scalar `cat $t->{dir}/pgdata/base/*/* $t->{dir}/pgdata/pg_wal/0*`);

done_testing();
