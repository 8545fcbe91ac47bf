package Usher::Directory;

# What the tests of the directory share: rows to make, records to read.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Exporter qw(import);
use IO::Socket::INET;
use JSON::PP ();

use Usher::Test::Process qw(sleep_until);

our @EXPORT = qw(
    customers key_make key_id record lineage changes record_is
    edge edge_user key_new ask status counter monitor asked
    connections head_on head_send head_answer
);


# An org and a plan with one policy.

sub customers {
    my ($t) = @_;

    my $org = $t->sql("insert into usher.org (name) values ('acme')
                       returning id");
    my $plan = $t->sql("insert into usher.plan (name) values ('pro')
                        returning id");

    $t->sql("insert into usher.plan_policy
             (plan_id, name, quota, window_s, burst, bucket)
             values (?, 'rps', 20, 1, 40, 0)", $plan);
    $t->sql('insert into usher.subscription (org_id, plan_id) values (?, ?)',
            $org, $plan);

    return ($org, $plan);
}


# A key by its secret (any text, where no edge checks its form); its id.

sub key_make {
    my ($t, $secret, $org) = @_;

    return $t->sql("insert into usher.key (org_id, digest)
                    values (?, sha256(?::bytea)) returning id",
                   $org // 1, $secret);
}


sub key_id { return 'key:' . sha256_hex($_[0]) }


# A record, decoded; undef if there is none.

sub record {
    my ($t, $id, %opt) = @_;

    my $text = $t->redis_cli({ name => $opt{redis} // 'redis' }, 'get',
                             "usher:d:$id");

    return $text =~ /^\{/ ? JSON::PP->new->decode($text) : undef;
}


sub record_is {
    my ($t, $id, $field, $value) = @_;

    my $record = record($t, $id);

    return $record && ($record->{$field} // '') eq $value;
}


sub lineage {
    my ($t) = @_;

    return scalar $t->redis_cli('get usher:d:ready');
}


# Change entries after an id: [ id, { field => value } ], ...

sub changes {
    my ($t, $after) = @_;

    my @lines = $t->redis_cli('--json', 'xrange', 'usher:changes',
                              '(' . ($after // '0') . '-0', '+');
    my $list = JSON::PP->new->decode(join '', @lines);

    return map { [ $_->[0] =~ /^(\d+)/, { @{ $_->[1] } } ] } @$list;
}


# An edge of its own that answers 200 to whoever has a key; auth and user are
# more parameters of usher_auth and usher_redis.

sub edge {
    my ($t, %opt) = @_;

    my $name = $opt{name} // 'edge1';
    my $more = $opt{http} // '';
    my $user = $opt{user} // '';
    my $auth = $opt{auth} // '';

    $t->nginx(<<"END", workers => $opt{workers} // 2, name => $name);
usher_zone   4m;
usher_redis  %%REDIS%% $user;
$more
server {
    listen 127.0.0.1:%%PORT%%;
    location / {
        usher_auth on $auth;
        usher_event off;
        root %%DIR%%;
    }
    location = /usher/status {
        usher_event off;
        usher_status;
    }
}
END
    $t->write_file("$name/file", 'hello');
}


# A Redis user for edges, whose rights can be taken away without usherd's.

sub edge_user {
    my ($t) = @_;

    $t->write_file('edge.password', "geheim\n");
    $t->redis_cli('acl', 'setuser', 'edge', 'on', '>geheim', '~*', '+@all');

    return 'user=edge password_file=' . $t->dir . '/edge.password';
}


# A key as usherctl makes it: { key => secret, id => number }.

sub key_new {
    my ($t, $org) = @_;

    return $t->ctl('key create org=' . ($org // 'acme'));
}


sub ask {
    my ($t, $key) = @_;

    return $t->get('/file', 'X-API-Key' => $key->{key});
}


sub status { return ask(@_)->status }

sub counter { return $_[0]->get('/usher/status')->json->{counters}{$_[1]} }


# A kept connection to each of n workers, by pid; the edge adds X-Pid.

sub connections {
    my ($t, $key, $n) = @_;

    my %on;

    $t->wait_for(sub {
        my $c = IO::Socket::INET->new(
            PeerAddr => '127.0.0.1:' . $t->port('edge1'))
            || die "connect: $!\n";
        head_send($c, $key);
        my ($status, $pid) = head_answer($c);
        $on{$pid} //= $c if $pid;
        keys %on == $n;
    }, 'a connection to each worker');

    return \%on;
}


sub head_on {
    my ($c, $key) = @_;

    head_send($c, $key);

    return (head_answer($c))[0];
}


sub head_send {
    my ($c, $key) = @_;

    print $c "HEAD /file HTTP/1.1\r\nHost: a\r\nX-API-Key: $key->{key}\r\n",
             "\r\n";
}


# Status and pid.

sub head_answer {
    my ($c) = @_;
    my ($status, $pid);

    while (my $line = <$c>) {
        $status = $1 if $line =~ m{^HTTP/1.1 (\d+)};
        $pid = $1 if $line =~ m{^X-Pid: (\d+)};
        last if $line eq "\r\n";
    }

    return ($status, $pid);
}


# Everything that Redis is asked from here on; asked() counts what matches.

sub monitor {
    my ($t) = @_;

    my $file = $t->dir . '/monitor';
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        open STDOUT, '>', $file or die "$file: $!\n";
        exec 'redis-cli', '-s', $t->dir . '/redis.sock', 'monitor';
    }

    $t->wait_for(sub { -s $file }, 'monitor');

    return { pid => $pid, file => $file, test => $t, marks => 0 };
}


# What Redis was asked before this call: the monitor writes when it gets to
# it, so we ask for a mark and wait until it is there.  Redis has to run.

sub asked {
    my ($monitor, $pattern) = @_;

    my $t = $monitor->{test};
    my $mark = 'mark-' . ++$monitor->{marks} . '-';

    $t->redis_cli('echo', $mark);
    sleep_until(sub { $t->slurp($monitor->{file}) =~ /"$mark"/ }, 30)
        or die "the monitor has stopped\n";

    return scalar grep { /$pattern/ } split /\n/, $t->slurp($monitor->{file});
}


1;
