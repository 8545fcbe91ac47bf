# Where clicks go when a target is dead: to another of its step, to the next
# step, to the link's own URL, to the fallback; and back when it lives.

use lib 't/lib';
use Usher::Test;
use Usher::Health;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd;

$t->sql("select api.org_create(name => 'acme')");
$t->sql("select api.domain_add(host => 'localhost', org => 'acme')");

sub call {
    my ($function, %with) = @_;
    my @names = sort keys %with;

    $t->sql("select api.$function(host => 'localhost', "
        . join(', ', map { "$_ => ?" } @names) . ')', @with{@names});
}

sub shop { "https://$_[0].example/" }

call('link_add', slug => 'plain', url => shop('plain'), dead => 'fallback',
     fallback => shop('fallback'));
call('link_add', slug => 'listed', url => shop('plain'),
     fallback => shop('fallback'));
call('link_add', slug => 'bare', url => shop('plain'), dead => 'fallback');
call('link_add', slug => 'split', url => shop('own'), dead => 'fallback',
     fallback => shop('fallback'));
call('link_target_set', slug => 'split', target => $_, url => shop($_))
    for qw(a b c d);
call('link_target_set', slug => 'split', target => 'later', step => 2,
     url => shop('later'));
call('link_add', slug => 'over', url => shop('old'), dead => 'fallback',
     fallback => shop('fallback'), overflow => shop('over'),
     expires => '2020-01-01');

$t->nginx(<<'CONF');
    usher_zone 4m;
    usher_redis %%REDIS%%;
    usher_journal %%DIR%%/journal size=16m segment=1m;

    set_real_ip_from 127.0.0.1;
    real_ip_header X-Real-IP;

    server {
        listen 127.0.0.1:%%PORT%%;

        location ~ ^/(?<slug>.*)$ {
            usher_link $slug;
            usher_link_visitor off;
        }
    }
CONF

sub click { my ($slug, @headers) = @_;
            $t->get("/$slug", 'User-Agent' => 'Mozilla/5.0 (Macintosh)',
                    @headers) }

sub where_to {
    my $response = click(@_);

    return ($response->header('Location') // '') =~ m{^https://(\w+)\.example/$}
           ? $1 : $response->status;
}

sub goes { my ($slug, $to, $what) = @_;
           $t->wait_for(sub { where_to($slug) eq $to }, $what) }

goes('plain', 'plain', 'it lives');
collect($t);
is(dies($t, shop('plain')), 'dead', 'it dies');
goes('plain', 'fallback', 'it falls back');
call('link_update', slug => 'listed', status => 307);
$t->wait_for(sub { click('listed')->status == 307 }, 'a new record');
is(where_to('listed'), 'plain', 'where it is only listed it goes on');
is(where_to('bare'), 'plain', 'as where there is no fallback');
is(seen($t, shop('plain'), 200), 'alive', 'it lives again');
goes('plain', 'plain', 'and is led to');

# a split: who is elsewhere stays there, the dead's visitors are shared out

sub split_now { map { $_ => where_to('split', 'X-Real-IP' => "10.2.0.$_") }
                1 .. 200 }

my %was = split_now();
my %all = map { $_ => 1 } values %was;

is(join(' ', sort keys %all), 'a b c d', 'four share');
dies($t, shop($_)) for qw(a c);
$t->wait_for(sub { my %now = split_now();
                   !grep { /[ac]/ } values %now }, 'nobody is sent to the dead');

my %is = split_now();
my %moved;

$moved{$is{$_}}++ for grep { $was{$_} =~ /[ac]/ } keys %was;

is((grep { $was{$_} =~ /[bd]/ && $is{$_} ne $was{$_} } keys %was), 0,
   'who was elsewhere stays there');

# within six standard deviations of a fair half

my $n = ($moved{b} // 0) + ($moved{d} // 0);

cmp_ok(abs(($moved{b} // 0) - $n / 2), '<', 6 * sqrt($n / 4),
       'the living share alike');

dies($t, shop($_)) for qw(b d);
goes('split', 'later', 'then to the next step');
dies($t, shop('later'));
goes('split', 'own', 'to the link\'s own');
dies($t, shop('own'));
goes('split', 'fallback', 'and at last to the fallback');
dies($t, shop('fallback'));
is(where_to('split'), 'fallback', 'dead or not');
seen($t, shop('c'), 302);
goes('split', 'c', 'who lives again is led to');

is(where_to('over'), 'over', 'an overflow');
dies($t, shop('over'));
goes('over', 'fallback', 'that is dead falls back');

# a link that is changed leads where it says, whatever was found before

call('link_update', slug => 'plain', url => shop('own'));
goes('plain', 'fallback', 'to another that is dead');
call('link_update', slug => 'plain', url => shop('new'));
goes('plain', 'new', 'and to one of whom nothing is known');
call('link_update', slug => 'listed', dead => 'fallback');
dies($t, shop('plain'));
goes('listed', 'fallback', 'a link that is to fall back from now on');

# who died unnoticed by a link, which led there when nobody had looked yet

call('link_add', slug => 'late', url => shop('late'));
collect($t);
$t->sql('delete from usher.health_target t using usher.link l
         where l.id = t.link_id and l.slug = ?', 'late');
call('link_update', slug => 'late', dead => 'fallback',
     fallback => shop('none'));
goes('late', 'late', 'it is led to');
dies($t, shop('late'));
hours($t, 1.1);
collect($t);
goes('late', 'none', 'till links are looked at');

# clicks say so

$t->wait_for(sub {
    my %reason = map { @$_ } $t->rows("select slug || ' ' || target, "
        . 'max(reason) from usher.click group by 1');

    ($reason{'plain -1'} // 0) == 44 && ($reason{'over -1'} // 0) == 42
        && ($reason{'split 5'} // 0) == 44 && ($reason{'listed 0'} // 1) == 0;
}, 'reason 44, but what ended has its own');
is($t->sql("select count(*) from usher.click where slug = 'bare' "
           . 'and reason = 44'), 1, 'also where it was sent all the same');
is($t->sql("select count(*) from usher.click where slug = 'split' "
           . 'and target in (1, 2, 3, 4) and reason = 0') >= 200, 1,
   'who was not concerned is valid');

done_testing();
