# Keys of what was said go when no repeat can come any more; what comes again
# after that is a row again, and nothing else: its conversion knows it.

use lib 't/lib';
use Usher::Conversion;
use Usher::Slot;
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;
$t->redis;
world($t);
$t->usherd(duties => 'flush,react', conf => { usherd => {
    batch_age_ms => 20 } });

my $slot = Usher::Slot->new($t);
my $net = $t->sql("select id from usher.postback where name = 'net'");

sub say {
    my ($transaction, $status, $amount) = @_;

    $slot->append($slot->conversion($transaction, postback_id => $net,
        status => $status, amount => $amount, currency => 'EUR'))->ship;
    $t->wait_for(sub { $slot->stored }, 'what is said is stored');
    $t->wait_for(sub { !$t->sql('select count(*) from usher.todo') },
                 'and reacted to');
}

sub count { $t->sql("select count(*) from usher.$_[0]") }

# Days pass for all that was stored of a transaction.

sub days {
    my ($transaction, $days) = @_;

    $t->sql('select usher.partition_ensure($$conversion_event$$,
                 ((now() - make_interval(days => ?)) at time zone $$UTC$$)::date)',
            $days);
    $t->sql("update usher.conversion_$_ set received_at = received_at
                 - make_interval(days => ?) where transaction_id = ?", $days,
            $transaction) for qw(event key);
}

say(old => pending => '2.00');
say(old => approved => '3.00');
say(new => approved => '1.00');
days(old => 101);
days(new => 99);
is($t->sql("select usher.keep_prune()->>'keys'"), 2, 'keys past every repeat');
is($t->sql("select string_agg(transaction_id, ' ') from usher.conversion_key"),
   'new', 'go, and no others');
ok($t->ctl('journal verify')->{ok}, 'and the journal adds up');

my $before = $t->sql('select c::text from usher.conversion c
                      where transaction_id = ?', 'old');

say(old => pending => '2.00');
say(old => approved => '3.00');
say(new => approved => '1.00');
is(count('conversion_event'), 5, 'what comes again after that is a row again');
is($t->sql('select c::text from usher.conversion c where transaction_id = ?',
           'old'), $before, 'and changes nothing');
is($t->sql('select sum(amount) from usher.revenue'), 400, 'nor what is earned');

my $v = $t->ctl('journal verify');
ok($v->{ok}, 'nor does it differ from the journal')
    or diag("@{ $v->{problems} }");

$t->sql('update usher.conversion_event set received_at = now()
         where transaction_id = ?', 'old');
like($t->ctl('journal verify')->{problems}[0], qr/^2 rows are there again/,
     'where it came again at once it would');

done_testing();
