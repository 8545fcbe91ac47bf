#!/usr/bin/perl

# PostgreSQL is set back once more while what was put aside is there: a stream
# that is a copy of it goes, any other is kept beside it.

use lib 't/lib';
use Usher::Test;
use Usher::Slot;

my $t = Usher::Test->new;

$t->postgres;
$t->redis;
$t->usherd(duties => 'flush', conf => {
    usherd => { batch_age_ms => 20, lease_s => 2 } });

sub free { !$_[0]->redis->exists($_[0]->key) }

sub rests {
    my @rests = sort $_[0]->redis->keys("usher:rest:$_[0]{id}*");

    return map { substr $_, 11 } @rests;
}

sub copy {
    system('rm', '-rf', $_[1]) == 0 && system('cp', '-a', @_) == 0
        or die "cp: @_\n";
}

sub set_back {
    $t->kill9('usherd');
    $t->stop('postgres');
    copy("$t->{dir}/backup", "$t->{dir}/pgdata");
    $t->start('postgres');
    $t->start('usherd');
}

# Nothing can be stored until PostgreSQL is set back.

sub disk_full {
    $t->sql(q{create function disk_full() returns trigger language plpgsql
              as $$ begin raise disk_full; end $$});
    $t->sql('create trigger disk_full before update on usher.journal for each row '
            . 'execute function disk_full()');
}

# Two slots, of which the first part is in the backup, the second was stored
# and is the edge's, the third is in Redis alone.

my @slots = my ($same, $more) = map { Usher::Slot->new($t) } 1, 2;
my (%begin, %middle);

sub part { $_->append($_->requests(2))->ship for @slots }

part();
$t->wait_for(sub { !grep { !$_->stored } @slots }, 'a beginning');
$begin{$_} = $_->end for @slots;
$t->stop('usherd');
$t->stop('postgres');
copy("$t->{dir}/pgdata", "$t->{dir}/backup");
$t->start('postgres');
$t->start('usherd');
part();
$t->wait_for(sub { !grep { !$_->stored || $_->redis->xlen($_->key) } @slots },
             'stored after the backup, and trimmed');
$middle{$_} = $_->end for @slots;
$t->stop('usherd');
part();
part();
set_back();
$t->wait_for(sub { 2 == grep { free($_) && rests($_) == 1 } @slots },
             'set back: put aside', 20);

# sent again and copied back, of one more comes; nothing of it is stored when
# PostgreSQL is set back once more

$_->takeup($begin{$_}, to => $middle{$_}) for @slots;
$t->wait_for(sub { 2 == grep { $_->stored($middle{$_}) } @slots },
             'the edge sends again');
disk_full();
$t->wait_for(sub { 2 == grep { $_->redis->xlen($_->key) == 2 } @slots },
             'copied back', 20);
$more->{shipped} = $more->end;
$more->append($more->requests(2))->ship;
set_back();
$t->wait_for(sub { 2 == grep { free($_) } @slots }, 'set back again: free',
             20);
is_deeply([ rests($same) ], [ $same->id ], 'what is there already goes');
is_deeply([ rests($more) ], [ $more->id, $more->id . ':2' ],
          'what is not is kept');
like($t->log_of('usherd'), qr/\Q$same->{id}\E: nobody .* goes, for all of it/,
     'and said');

$_->takeup($begin{$_}, to => $middle{$_}) for @slots;
$t->wait_for(sub { 2 == grep { $_->stored } @slots }, 'all is stored', 40);
is($_->once, '', 'each event is one row') for @slots;
$t->wait_for(sub { !rests($same) && !rests($more)
                   && !$same->redis->exists('usher:rest') },
             'nothing is left aside');

done_testing();
