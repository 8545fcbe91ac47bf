# Postbacks: a value that an argument cannot have is refused by the argument's
# name, with what it may be; nothing is done then.

use lib 't/lib';
use Usher::Catalogue;
use Usher::Secret;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
key_file($t, 'keys');
$t->ctl('org create name=acme');
$t->ctl('org create name=beta');
$t->ctl("network create org=acme name=$_ preset=$_")
    for qw(generic clickbank amazon);
$t->ctl('program create org=acme name=shop side=own currency=EUR');
$t->ctl('program create org=acme name=net side=network network=generic '
        . 'currency=USD');
put($t, "network/acme/$_->[0]", $_->[1])
    for [ sign => 'geheim' ], [ long => 'x' x 1025 ], [ old => 'x' ],
        [ spare => 'y' ];
$t->ctl('secret retire kind=network org=acme name=old');
put($t, 'network/beta/theirs', 'x');

my $at = 'endpoint=https://go.example/postback';

$t->ctl("postback add org=acme name=main network=generic $at");
$t->ctl("postback add org=acme name=signed network=generic hmac=md5 key=sign "
        . $at);
$t->ctl("postback add org=acme name=other program=shop hmac=md5 key=spare $at");
$t->ctl("postback add org=acme name=twin network=generic hmac=md5 key=sign $at");

my $key = [ 'nobody', qr/first "usherctl secret put"/ ];
my %with = (
    endpoint => [ 'go.example', qr/as https:\/\/go\.example\.com\/postback/ ],
    key => $key,
    allow => [ 'any', qr/Write networks as 10\.0\.0\.0\/8/ ],
    parameters => [ 'click=subid', qr/Write "click_id=aff_sub/ ],
    statuses => [ 'paid=done', qr/Write "paid=approved/ ],
    org => [ 'nobody', qr/"usherctl org list" shows all/ ],
    postback => [ 'nobody', qr/"usherctl postback list" shows all/ ]);

# how to call it, and what differs

my %call = (
    postback_add => [ "name=new network=generic hmac=sha1 key=sign $at", {
        name => [ 'A b', qr/1 to 32 of a-z, 0-9/ ],
        network => [ 'nobody', qr/network list/ ],
        program => [ 'shop', qr/A network calls it, or the shop/ ],
        form => [ 'xml', qr/query, ins .* or digistore24/ ],
        pixel => [ 'true', qr/leave out form= and hmac=/ ],
        hmac => [ 'crc32', qr/sha256, sha1, sha512 or md5/ ],
        encoding => [ 'octal', qr/hex or base64/ ],
        signature => [ 'a=b', qr/1 to 64 of letters/ ] } ],
    postback_update => [ 'postback=signed', {} ],
    postback_disable => [ 'postback=main', {} ],
    postback_enable => [ 'postback=main', {} ],
    postback_rotate_secret => [ 'postback=main', {} ],
);


sub told {
    my ($function, $args, $what, $hint) = @_;

    my ($code, $out, $err) = $t->ctl_run($function, @$args);

    is($code, 1, "$function: $what");
    like($err, qr/^usherctl:[^\n]+\nhint:[^\n]*$hint/, '... says what may be');
    unlike($err, qr/violates|constraint/, '... in words of ours');

    return $err;
}


my $functions = functions($t, qr/^postback_/);
my $rows = $t->sql('select count(*) from usher.audit');

for my $function (sort grep { $functions->{$_}{changes} } keys %$functions) {
    my ($line, $own) = @{ $call{$function} };

    for my $arg (map { $_->{name} } @{ $functions->{$function}{arguments} }) {
        my $case = $own->{$arg} // $with{$arg};

        if (!$case) {
            fail("$function $arg= is held against its values here");
            next;
        }

        my @args = (grep({ !/^$arg=/ } 'org=acme', split ' ', $line),
                    "$arg=$case->[0]");

        like(told($function, \@args, "$arg=$case->[0]", $case->[1]),
             qr/\b$arg\b/, '... by the argument');
    }
}

# what only together cannot be, and what is not in that state

for my $case (
    [ "add name=main network=generic $at", qr/another name/ ],
    [ 'add name=new network=generic', qr/URL of the location/ ],
    [ "add name=new $at", qr/A network calls it, or the shop/ ],
    [ "add name=new program=net $at", qr/told by the network: network=/ ],
    [ "add name=new network=amazon $at", qr/knows no postback: say which/ ],
    [ "add name=new network=generic parameters=click_id=,transaction_id= $at",
      qr/say which parameter/ ],
    [ "add name=new network=clickbank $at", qr/first "usherctl secret put"/ ],
    [ "add name=new network=generic hmac=sha1 $at", qr/first "usherctl secret put"/ ],
    [ "add name=new network=generic hmac=sha1 key=long $at", qr/at most 1024 bytes/ ],
    [ "add name=new network=generic hmac=sha1 key=old $at", qr/first "usherctl secret put"/ ],
    [ "add name=new network=generic hmac=sha1 key=theirs $at", qr/first "usherctl secret put"/ ],
    [ "add name=new network=clickbank key=sign $at", qr/each a secret of its own/ ],
    [ "add name=new program=shop hmac=sha1 key=sign $at", qr/each a secret of its own/ ],
    [ 'update postback=other key=sign', qr/each a secret of its own/ ],
    [ "add name=new network=generic key=sign $at", qr/a secret in the URL is made/ ],
    [ "add name=new network=generic form=digistore24 hmac=md5 key=sign $at",
      qr/signed or encrypted in its own way/ ],
    [ "add name=new program=shop pixel=true form=ins key=sign $at",
      qr/leave out form=/ ],
    [ "add name=new network=generic parameters=amount=a,amount=b $at", qr/Write/ ],
    [ "add name=new network=generic endpoint=https://x.example/" . 'x' x 512,
      qr/Give 1 to 512/ ],
    [ 'update postback=main key=sign', qr/"usherctl postback rotate secret"/ ],
    [ 'update postback=main parameters=click_id=,transaction_id=', qr/say which/ ],
    [ 'enable postback=main', qr/"usherctl postback show" tells/ ],
    [ 'rotate_secret postback=signed', qr/"usherctl secret put"/ ],
) {
    my ($words, $hint) = @$case;
    my ($verb, @args) = split ' ', $words;

    told("postback_$verb", [ 'org=acme', map { s/^parameters=\K.*/$& =~ tr{,}{ }r/er } @args ],
         "@args", $hint);
}

is($t->sql('select count(*) from usher.audit'), $rows, 'nothing was done');
like($t->ctl_fails('secret drop kind=network org=acme name=sign'),
     qr/is in use\nhint: "usherctl postback list"/, 'a secret that is used stays');
like($t->ctl_fails($_), qr/^usherctl: [^\n]*\nhint: /, $_)
    for 'postback show org=acme postback=nobody', 'postback list limit=0';

done_testing();
