# What the records of links are made of reaches the outbox when it changes, and
# what is taken away first.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");

for my $n (1, 2) {
    $t->sql("select api.network_create(org => 'acme', name => 'net$n',
             preset => 'awin')");
    $t->sql("select api.program_create(org => 'acme', name => 'shop$n',
             side => 'network', network => 'net$n', currency => 'EUR',
             hosts => 'a.example b.example')");
    $t->sql("select api.link_add(host => 'localhost', slug => 'to$n',
             program => 'shop$n', untracked => true,
             url => 'https://shop.example/')");
}

$t->sql("select api.link_add(host => 'localhost', slug => 'other',
         url => 'https://shop.example/')");
$t->sql('set role usher_owner');


# Which links a change puts there: "localhost/to1 urgent".

sub outbox {
    my ($sql) = @_;

    $t->sql('delete from usher.directory_outbox');
    $t->sql($sql);

    return join ', ', map { $_->[0] } $t->rows(q{
        select array_to_string(array(select u from unnest(ids) u order by u),
                               ' ') || case when urgent then ' urgent' else '' end
        from usher.directory_outbox where kind = 'link' order by id });
}


my $program = 'update usher.program set';

is(outbox("$program hosts = hosts || '{c.example}' where id = 1"),
   'localhost/to1', 'a host more');
is(outbox("$program hosts = '{c.example,a.example}' where id = 1"),
   'localhost/to1 urgent', 'one less is urgent');
is(outbox("$program hosts = case id when 1 then '{}' else hosts || '{d.example}'
                            end::text[]"),
   'localhost/to1 urgent, localhost/to2', 'the urgent ones go first');
is(outbox("$program network_id = 2 where id = 1"), 'localhost/to1',
   'another network');
is(outbox("$program name = 'new' where id = 2"), 'localhost/to2', 'a name');
is(outbox("$program title = 'x', window_days = 3"), '',
   'what the record does not hold does not matter');

is(outbox("update usher.network set deep_link = 'u' where id = 2"),
   'localhost/to1 localhost/to2', 'a parameter of a network');
is(outbox("update usher.network set preset = 'cj' where id = 2"),
   'localhost/to1 localhost/to2', 'another preset');
is(outbox("update usher.network set sub_id = 'x' where id = 2"), '',
   'where the sub-id stands is in the URL');

is(outbox("update usher.network_preset set deep_link = 'v' where name = 'cj'"),
   'localhost/to1 localhost/to2', 'a preset');
is(outbox("update usher.network_preset set on_page = true where name = 'cj'"),
   'localhost/to1 localhost/to2', 'or what counts of it');
is(outbox("update usher.network_preset set title = 'v', deep_link = deep_link"),
   '', 'or nothing of it');

done_testing();
