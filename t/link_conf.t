# What nginx -t says of usher_key_file, and of usher_link without what few
# would want to do without.

use lib 't/lib';
use Usher::Test;
use Usher::Secret;
use Usher::Test::Process 'owner';

my $t = Usher::Test->new;
my ($uid, $gid) = owner();

key_file($t, 'made');
my $keys = edge_keys($t, 'test');
my $good = $t->slurp($keys);


sub said {
    my ($http) = @_;

    my ($code, $text) = $t->nginx_test("$http\n");

    return $code ? $text : $text =~ /\[warn\].*/ ? join "\n", $text =~ /(\[warn\].*)/g
                                                 : 'accepted';
}


# A file of this text and mode, of the user that nginx runs as.

sub file {
    my ($text, $mode) = @_;

    my $file = $t->write_file('edge1/other', $text);

    chmod $mode, $file;
    chown $uid, $gid, $file;

    return $file;
}


is(said("usher_key_file $keys;"), 'accepted', 'a key file');
is(said('usher_key_file keys;'), 'accepted', 'beside nginx.conf');
like(said("usher_key_file $keys; usher_key_file $keys;"),
     qr/"usher_key_file" directive is duplicate/, 'two');
like(said("server { usher_key_file $keys; }"), qr/not allowed here/,
     'of a server');
like(said("usher_key_file $t->{dir}/none;"),
     qr{cannot read \Q$t->{dir}\E/none: No such file or directory in \S+/nginx\.conf:\d+},
     'no such file');
like(said('usher_key_file ' . file($good, 0640) . ';'),
     qr/other has mode 0640: only its owner may have access \(chmod 600\)/,
     'open to others');
like(said('usher_key_file ' . file("# x\n7 abc\n", 0600) . ';'),
     qr/other:2: the key is not 32 bytes in base64/, 'a line that is wrong');
like(said('usher_key_file ' . file("# x\n", 0600) . ';'),
     qr/other: there is no key in it/, 'none in it');

SKIP: {
    skip 'takes root', 1 if $<;

    my $file = file($good, 0644);

    chown $uid + 1, $gid, $file;
    like(said("usher_key_file $file;"),
         qr/other belongs to user \d+: it has to be yours or root's/, 'of another');
}

# usher_link

my $all = "usher_zone 1m; usher_redis unix:$t->{dir}/redis.sock;";
my $journal = 'usher_journal %%DIR%%/journal;';
my $server = "server {\nlisten 127.0.0.1:%%PORT%%;\nlocation /a { usher_link a; }\n"
    . "location /b { usher_link b; } }";

is(said("$all $journal usher_key_file $keys; $server"), 'accepted', 'with both');
like(said("$all usher_key_file $keys; $server"),
     qr/^\[warn\] .*"usher_link" without "usher_journal": no click is recorded in \S+:\d+$/,
     'a warning without a journal, once');
like(said("$all $journal $server"),
     qr/^\[warn\] .*"usher_link" without "usher_key_file": clicks have no id in \S+:\d+$/,
     'and without a key file');
is(said("$all server { listen 127.0.0.1:%%PORT%%; }"), 'accepted',
   'none where there are no links');

done_testing();
