package Usher::Postback;

# What tests of conversions share: an org with a network, a shop and a link,
# an edge that takes postbacks, and the rows that come of them.
#
#     world($t, http => 'error_log ...;');
#     my $url = postback($t, 'name=net network=net');   # from ?, without macros
#     my $id = click($t);                               # of a real click
#     is_deeply(event($t, 'status, amount', 't1'), [ 'ok', '1.00' ]);

use v5.36;

use Exporter qw(import);

use Usher::Secret ();

our @EXPORT = qw(click counter event events known postback said world);


sub world ($t, %opt) {
    $t->postgres;
    $t->redis;
    $t->usherd;

    Usher::Secret::click_key($t);

    $t->ctl('org create name=acme');
    $t->ctl("network create org=acme name=$_ preset=$_")
        for qw(generic clickbank digistore24);
    $t->ctl('network create org=acme name=net preset=generic');
    $t->ctl('program create org=acme name=shop side=own currency=EUR');
    $t->ctl('domain add host=localhost org=acme');
    $t->ctl('link add host=localhost slug=a url=https://shop.example/?{click_id}');

    $t->nginx(conf(%opt), workers => $opt{workers} // 1, %{ $opt{nginx} // {} });
    $t->wait_for(sub { click($t) }, 'a click has an id');
}


sub conf (%opt) {
    my $journal = $opt{journal} // 'size=64m segment=1m';
    my $http = $opt{http} // '';
    my $server = $opt{server} // '';

    return <<"END";
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_key_file %%DIR%%/keys;
    usher_journal %%DIR%%/journal $journal;
    log_format c '\$request|\$request_uri|\$args|\$usher_conversion_status';
    $http

    server {
        listen 127.0.0.1:%%PORT%%;
        keepalive_requests 100000;
        client_body_buffer_size 1k;
        access_log %%DIR%%/said.log c;

        location = /postback { usher_conversion; }
        location ~ ^/p/(?<token>[^/]*)\$ { usher_conversion \$token; }
        location ~ ^/go/(?<slug>.*)\$ { usher_link \$slug; }
        location = /status { usher_status; }
        $server
    }
END
}


# The query up to the first macro; it is known to the edge when it returns.

sub postback ($t, $args, @more) {
    my $made = $t->ctl('postback', 'add', 'org=acme',
                       'endpoint=https://go.example/postback',
                       split(' ', $args), @more);
    my ($query) = $made->{url} =~ /\?(postback=[a-z2-7]{26}(?:&usher_secret=[a-z2-7]+)?)/;

    known($t, $query);

    return "/postback?$query";
}


sub known ($t, $query) {
    my ($token) = $query =~ /([a-z2-7]{26})/;

    $t->wait_for(sub { $t->redis_cli('get', "usher:d:postback:$token") =~ /"id"/ },
                 'a postback is in the directory');
    $t->wait_for(sub { $t->get("/postback?postback=$token")->status != 404 },
                 'and known');
}


sub click ($t) {
    my $to = $t->get('/go/a')->header('Location') // return;

    return $to =~ /\?([a-z2-7]{32})$/ ? $1 : undef;
}


# Columns of the rows of a transaction, when there are so many.

sub events ($t, $columns, $transaction, $n = 1) {
    my $count = 'select count(*) from usher.conversion_event
                 where transaction_id = ?';

    $t->wait_for(sub { $t->sql($count, $transaction) >= $n },
                 'rows of a transaction');

    return map { [ @$_ ] } $t->rows(
        "select $columns from usher.conversion_event
         where transaction_id = ? order by event_time, received_at",
        $transaction);
}


sub event ($t, $columns, $transaction) {
    return (events($t, $columns, $transaction))[0];
}


# Status and word of a refusal, or of an answer.

sub said ($answer) {
    my $word = $answer->status == 200 ? $answer->body
             : eval { $answer->json->{reason} } // 'none';

    return $answer->status . " $word";
}


sub counter ($t, $name) {
    return $t->get('/status')->json->{counters}{$name};
}

1;
