package Books;

# What clicks and conversions must have become, by what the crowd and the shop
# saw themselves: a model of its own, of a few rules, which asks none of our
# functions.
#
#   - a row has the link, the target and the id of the Location that was sent;
#     no id is two clicks', and a visitor is sent to one target of a split; who
#     waited in vain for the key that signs ids was sent on without one;
#   - who is a robot is called so, and of a visitor's clicks on a link one
#     counts, whatever nodes and hours they fell upon; the sums have each row;
#   - a word that was answered is an event, once, however often it was said,
#     and nothing else is; its time is that of one of its tries;
#   - a conversion is what the last of its words say, attributed to the click
#     that they bring; what a pixel says counts until anybody else tells;
#   - what a network approved is booked, in revenue and in the ledger;
#   - of what a shop of our own sold the partner earns an eighth, in EUR, and
#     is paid it once, whatever was paid and taken back in between.

use v5.36;

use Usher::Click qw(read_id);

# A worker's clock is that of the beginning of its turn (s).
my $SLACK = 0.5;

# A request waits 50 ms for what is not known, less a turn (s).
my $WAIT = 0.045;

# Of the sale's currency in EUR, and how many minor units a unit has.
our %RATE = (EUR => '1', USD => '0.9', JPY => '0.0062');
my %DIGITS = (EUR => 2, USD => 2, JPY => 0);

my $BOT = 11;
my $DUPLICATE = 21;
my $UNKNOWN = 31;

my %MEANS = (pending => 'pending', lead => 'pending', approved => 'approved',
    sale => 'approved', rejected => 'rejected', reversed => 'reversed',
    refund => 'reversed', chargeback => 'reversed');
my %RANK = (pending => 1, approved => 2, rejected => 3, reversed => 4);


# links: { slug => { id, targets => { number => last word of its URL } } };
# clicks: what Judge has of them; shop: what shop wrote.

sub new ($class, %opt) {
    return bless { %opt, failures => [], counts => {} }, $class;
}


sub read ($self, $db) {
    my %of = (
        clicks => 'select sub1, click_id, slug, link_id, target, reason,
                       coalesce(relabelled, reason) as final, visitor
                   from usher.click',
        sums => "select link_id || ' ' || reason as what, sum(clicks) as n
                 from usher.click_hour group by 1",
        net => 'select coalesce(sum(net), 0) as n from usher.click_sum',
        counted => 'select reason from usher.click_reason where counted',
        events => q{select e.transaction_id, e.origin, e.status, e.request_id,
                        extract(epoch from e.event_time) as at,
                        extract(epoch from least(e.event_time, h.at)) as since
                    from usher.conversion_event e
                    left join (select split_part(key, ':', 2) as postback,
                                   split_part(key, ':', 3) as digest,
                                   min((said #>> '{means,at}')::timestamptz) as at
                               from usher.conversion_change
                               where key ~ '^earlier:' group by 1, 2) h
                         on h.postback = e.postback_id::text
                            and h.digest = encode(e.digest, 'hex')},
        conversions => q{select c.transaction_id, c.state, c.amount,
                            c.sale_amount, c.currency, c.via, c.click_id,
                            c.confirmed::int, l.slug, u.word as reason,
                            p.name as partner, count(h.id) as changes
                        from usher.conversion c
                        left join usher.link l on l.id = c.link_id
                        left join usher.unattributed u
                             on u.reason = c.unattributed
                        left join usher.partner p on p.id = c.partner_id
                        left join usher.conversion_change h
                             on h.conversion_id = c.id
                                and h.key !~ '^(again|earlier):'
                        group by c.id, l.slug, u.word, p.name},
        revenue => "select c.transaction_id, r.currency, sum(r.amount) as n
                    from usher.revenue r
                    join usher.conversion c on c.id = r.conversion_id
                    where c.side = 'network'
                    group by 1, 2 having sum(r.amount) <> 0",
        commissions => q{select c.transaction_id, sum(m.amount) as n,
                             coalesce(sum(m.amount) filter (
                                 where b.state = 'closed'), 0) as paid
                         from usher.commission_line m
                         join usher.conversion c on c.id = m.conversion_id
                         left join usher.payout p on p.id = m.payout_id
                         left join usher.payout_batch b on b.id = p.batch_id
                         where m.currency = 'EUR'
                         group by 1},
        payouts => q{select p.currency, sum(p.amount) as n, count(*) as count
                     from usher.payout p
                     join usher.payout_batch b on b.id = p.batch_id
                     where b.state = 'closed' group by 1},
        owed => q{select currency, balance as n from usher.account_balance
                  where (kind, name) = ('liability', 'partner:ann')
                        and balance <> 0},
        balances => "select kind, currency, balance as n
                     from usher.account_balance
                     where (kind, name) in (('asset', 'network:net'),
                                            ('revenue', 'commissions'))
                           and balance <> 0",
        given_up => 'select what from usher.notification',
    );

    for my $what (keys %of) {
        $self->{rows}{$what} = $db->selectall_arrayref($of{$what},
            { Slice => {} });
    }
}


sub fail ($self, $what, $text) {
    push @{ $self->{failures} }, [$what, $text];
}


# [what, text] of each thing that is not as it should be.

sub judge ($self) {
    $self->clicks;
    $self->visitors;
    $self->sums;
    $self->events;
    $self->conversions;
    $self->money;
    $self->commissions;
    $self->fail('notifications', $_->{what})
        for @{ $self->{rows}{given_up} };
    $self->fail('answers', $_) for @{ $self->{shop}{odd} };

    return $self->{failures};
}


# ---- Clicks ----


sub clicks ($self) {
    my (%ids, %target);

    for my $row (@{ $self->{rows}{clicks} }) {
        my $click = $self->{clicks}{ $row->{sub1} };

        $self->{counts}{clicks}++;
        $self->fail('clicks', "$row->{sub1}: nobody clicked")
            if !$click;
        $self->fail('click ids', "$row->{click_id} twice")
            if $row->{click_id} ne '' && $ids{ $row->{click_id} }++;
        $self->click($row, $click) if $click;
    }

    for my $id (sort keys %{ $self->{clicks} }) {
        my $click = $self->{clicks}{$id};
        my $status = $click->{status} // next;
        my $known = $self->{links}{ $click->{slug} };

        $self->fail('answers', "$id, $click->{slug}: $status")
            if $status != ($known ? 302 : 404) && $status !~ /^(?:503|429)$/;

        my $to = page_of($click->{location} // next);
        my $first = $target{"$click->{agent} $click->{slug}"} //= $to;

        $self->fail('split', "$click->{agent} at $to and $first")
            if $to ne $first;
    }
}


sub page_of ($location) {
    return $location =~ m{^https://shop.example/(\w+)} ? $1 : $location;
}


sub click ($self, $row, $click) {
    my $link = $self->{links}{ $click->{slug} };
    my $id = $row->{sub1};

    $self->fail('clicks', "$id: of $row->{slug}, not $click->{slug}")
        if $row->{slug} ne $click->{slug}
            || $row->{link_id} != ($link ? $link->{id} : 0);
    $self->click_id($row, $click, $link->{id}) if $link;

    if (defined $click->{location} && $link) {
        my $page = $link->{targets}{ $row->{target} } // 'none';

        $self->fail('clicks', "$id: sent to $click->{location}, but target "
            . "$row->{target}, id $row->{click_id}")
            if $click->{location}
                ne "https://shop.example/$page?c=$row->{click_id}";
    }

    my $reason = $click->{agent} =~ /^b/ ? $BOT
               : $link ? $link->{reason} // 0 : $UNKNOWN;

    $self->fail('reasons', "$id: $row->{reason}, not $reason")
        if $row->{reason} != $reason
            && !($row->{reason} == $DUPLICATE && $link && $reason != $BOT);
}


sub click_id ($self, $row, $click, $link) {
    my $id = read_id($row->{click_id});

    if ($row->{click_id} eq '') {
        $self->{counts}{without_id}++;
        $self->fail('click ids', "$row->{sub1}: none, after $click->{took} s")
            if ($click->{took} // $WAIT) < $WAIT;

    } elsif (!$id || $id->{link} != $link) {
        $self->fail('click ids', "$row->{sub1}: $row->{click_id}");
    }
}


# A visitor's hash is his alone while a salt holds; he may have several where
# Redis was away.

sub visitors ($self) {
    my %counted = map { $_->{reason} => 1 } @{ $self->{rows}{counted} };
    my (%agent, %clicks, %net);

    for my $row (@{ $self->{rows}{clicks} }) {
        my $click = $self->{clicks}{ $row->{sub1} } // next;
        my $hash = $row->{visitor};

        next if $hash eq '';
        $agent{$hash} //= $click->{agent};
        $self->fail('visitors', "$hash is $agent{$hash} and $click->{agent}")
            if $agent{$hash} ne $click->{agent};

        next if !$row->{link_id}
            || !($counted{ $row->{reason} } || $row->{reason} == $DUPLICATE);
        $clicks{"$hash $row->{link_id}"}++;
        $net{"$hash $row->{link_id}"} += $counted{ $row->{final} } ? 1 : 0;
        $self->{counts}{relabelled}++ if $row->{final} != $row->{reason};
    }

    $self->{counts}{visitors} = keys %agent;
    $self->fail('visitors', "$_: $clicks{$_} clicks, $net{$_} count")
        for grep { $net{$_} != 1 } sort keys %clicks;
}


sub sums ($self) {
    my %counted = map { $_->{reason} => 1 } @{ $self->{rows}{counted} };
    my %sum = map { $_->{what} => $_->{n} } @{ $self->{rows}{sums} };
    my $net = 0;
    my %rows;

    for my $row (@{ $self->{rows}{clicks} }) {
        $rows{"$row->{link_id} $row->{final}"}++;
        $net++ if $counted{ $row->{final} };
    }

    for my $what (sort keys %{ { %sum, %rows } }) {
        my ($n, $sum) = map { $_ // 0 } $rows{$what}, $sum{$what};
        $self->fail('sums', "link and reason $what: $n clicks, sum $sum")
            if $n != $sum;
    }

    $self->{counts}{net} = $net;
    $self->fail('sums', "$net clicks count, sum $self->{rows}{net}[0]{n}")
        if $net != $self->{rows}{net}[0]{n};
}


# ---- Conversions ----


sub events ($self) {
    my %try;

    for my $sale (@{ $self->{shop}{sales} }) {
        for my $word (@{ $sale->{words} }) {
            $try{ $_->{id} } = [$sale, $word, $_] for @{ $word->{tries} };
        }
    }

    for my $row (@{ $self->{rows}{events} }) {
        my ($sale, $word, $try) = @{ $try{ $row->{request_id} } // [] };

        $self->{counts}{events}++;

        if (!$try || $row->{transaction_id} ne $sale->{id}
            || $row->{status} ne $word->{status}
            || $row->{origin} ne $word->{origin})
        {
            $self->fail('events', "$row->{transaction_id} $row->{status}, "
                . "request $row->{request_id}: nobody said so");
            next;
        }

        push @{ $word->{rows} }, $row->{since};
        $self->fail('events', "$row->{request_id}: at $row->{at}, sent "
            . "$try->{sent}, answered $try->{ended}")
            if $row->{at} < $try->{sent} - $SLACK
                || $row->{at} > $try->{ended} + $SLACK;
        $self->fail('events', "$row->{request_id}: counts from "
            . "$row->{since}, and was said before")
            if grep { $_->{status} == 200
                      && $_->{ended} + $SLACK < $row->{since} }
               @{ $word->{tries} };
        $self->fail('events', "$row->{request_id}: counts from "
            . "$row->{since}, and nobody said so then")
            if !grep { $row->{since} >= $_->{sent} - $SLACK
                       && $row->{since} <= $_->{ended} + $SLACK }
               @{ $word->{tries} };
        $self->{counts}{late_won}++ if grep { $_->{status} == 200
            && $_->{ended} < $try->{sent} } @{ $word->{tries} };
    }

    for my $sale (@{ $self->{shop}{sales} }) {
        $self->word($sale, $_) for @{ $sale->{words} };
    }
}


sub word ($self, $sale, $word) {
    my $rows = @{ $word->{rows} // [] };
    my $answered = grep { $_->{status} == 200 } @{ $word->{tries} };
    my $what = "$sale->{id} $word->{origin} $word->{status}";

    $self->{counts}{words}++ if @{ $word->{tries} };
    $self->{counts}{tries} += @{ $word->{tries} };
    $self->{counts}{answered_words} += $answered;
    $self->fail('events', "$what: $rows rows") if $rows > 1;
    $self->fail('events', "$what: answered, but no row")
        if $answered && !$rows;
}


# What is true of a sale; undef: nobody has said anything.

sub truth ($sale) {
    my @heard = grep { @{ $_->{rows} // [] } } @{ $sale->{words} };
    my @told = grep { $_->{origin} eq 'postback' } @heard;
    my $own = $sale->{source} eq 'own';
    my %truth = (confirmed => @told ? 1 : 0, state => 'pending',
        changes => 0 + @heard);

    return if !@heard;

    if (@told) {
        $truth{state} = (map { $MEANS{ $_->{status} } } sort by_time @told)[-1];
    }

    my ($said) = reverse sort by_time
        grep { defined $_->{amount}
            && ($MEANS{ $_->{status} } // '') !~ /^re/ }
        @told ? @told : @heard;

    if ($said) {
        $truth{ $own ? 'sale_amount' : 'amount' } = $said->{amount};
        $truth{currency} = $sale->{currency};
    }

    my @full = grep { !$_->{taken_back} } @heard;

    if ($sale->{coupon} && grep { $_->{origin} eq 'postback' } @full) {
        @truth{qw(slug via)} = ('ann', 'coupon');
    } elsif (@full && ($sale->{reason})) {
        $truth{reason} = $sale->{reason};
    } elsif (@full && $sale->{click}) {
        @truth{qw(slug via click_id)} = ($sale->{slug}, 'click',
            $sale->{click});
    } else {
        $truth{reason} = 'none';
    }

    $truth{partner} = 'ann' if $own && $truth{slug};

    return \%truth;
}


sub by_time {
    return $a->{rows}[0] <=> $b->{rows}[0]
        || $RANK{ $MEANS{ $a->{status} } // 'pending' }
            <=> $RANK{ $MEANS{ $b->{status} } // 'pending' };
}


sub conversions ($self) {
    my %row = map { $_->{transaction_id} => $_ }
              @{ $self->{rows}{conversions} };

    for my $sale (@{ $self->{shop}{sales} }) {
        my $truth = truth($sale) // next;
        my $row = delete $row{ $sale->{id} };

        $self->{counts}{conversions}++;
        $self->{counts}{ $truth->{state} }++;

        if (!$row) {
            $self->fail('conversions', "$sale->{id}: none");
            next;
        }

        my @wrong = grep { ($row->{$_} // '') ne ($truth->{$_} // '') }
            qw(confirmed state amount sale_amount currency slug via click_id
                reason partner changes);

        $self->fail('conversions', "$sale->{id}: " . join ', ', map {
            "$_ " . ($row->{$_} // 'null') . ' for '
                . ($truth->{$_} // 'null') } @wrong) if @wrong;
        $self->earn($sale, $truth);
    }

    $self->fail('conversions', "$_: nobody told of it")
        for sort keys %row;
}


sub earn ($self, $sale, $truth) {
    $self->{commission}{ $sale->{id} } = commission($truth)
        if $truth->{partner} && $truth->{state} eq 'approved'
            && $truth->{sale_amount};

    return if $sale->{source} ne 'net' || $truth->{state} ne 'approved'
        || !$truth->{amount};

    $self->{earned}{"$sale->{id} $truth->{currency}"} = $truth->{amount};
    $self->{total}{ $truth->{currency} } += $truth->{amount};
}


sub money ($self) {
    my %booked = map { ("$_->{transaction_id} $_->{currency}" => $_->{n}) }
                 @{ $self->{rows}{revenue} };
    my %earned = %{ $self->{earned} // {} };
    my %total = %{ $self->{total} // {} };
    my %balance;

    for my $what (sort keys %{ { %booked, %earned } }) {
        my ($is, $should) = map { $_ // 0 } $booked{$what}, $earned{$what};

        $self->fail('revenue', "$what: $is for $should") if $is != $should;
    }

    $balance{ $_->{kind} }{ $_->{currency} } += $_->{n}
        for @{ $self->{rows}{balances} };

    for my $currency (sort keys %total) {
        my $owed = $balance{asset}{$currency} // 0;
        my $earned = $balance{revenue}{$currency} // 0;

        $self->fail('ledger', "$currency: owed $owed, earned $earned, for "
            . $total{$currency})
            if $owed != $total{$currency} || $earned != -$total{$currency};
        $self->{counts}{"earned_$currency"} = $total{$currency};
    }
}


# An eighth of a sale, in cents, half to even: in whole numbers.

sub commission ($truth) {
    my ($units, $parts) = split /\./, $RATE{ $truth->{currency} };
    my $digits = length($parts // '') + $DIGITS{ $truth->{currency} };
    my $n = $truth->{sale_amount} * ($units . ($parts // ''));

    # n / 10^digits EUR, of which an eighth is n * 100 / (8 * 10^digits) cents

    my $over = $n * 100;
    my $under = 8 * 10 ** $digits;
    my $cents = int($over / $under);
    my $twice = 2 * ($over - $cents * $under);

    return $cents + ($twice > $under || $twice == $under && $cents % 2);
}


sub commissions ($self) {
    my %line = map { $_->{transaction_id} => $_ }
               @{ $self->{rows}{commissions} };
    my %due = %{ $self->{commission} // {} };
    my ($paid) = map { $_->{n} } grep { $_->{currency} eq 'EUR' }
                 @{ $self->{rows}{payouts} };
    my ($total, $settled) = (0, 0);

    for my $id (sort keys %{ { %line, %due } }) {
        my ($is, $should) = map { $_ // 0 } $line{$id}{n}, $due{$id};

        $total += $should;
        $settled += $line{$id}{paid} // 0;
        $self->fail('commissions', "$id: $is for $should") if $is != $should;
    }

    $paid //= 0;
    $self->{counts}{commission} = $total;
    $self->{counts}{payouts} += $_->{count} for @{ $self->{rows}{payouts} };
    $self->fail('payouts', "$paid paid, of $settled in their lines")
        if $paid != $settled;

    # what is left is below zero, and waits for what is earned next

    my $left = $total - $paid;

    $self->fail('payouts', "$paid paid, $total earned") if $left > 0;
    $self->fail('ledger', "$_->{currency}: $_->{n} owed to ann, for " . -$left)
        for grep { $_->{currency} ne 'EUR' || $_->{n} != -$left }
            @{ $self->{rows}{owed} };
    $self->fail('ledger', "nothing owed to ann, for $left")
        if $left && !@{ $self->{rows}{owed} };
}


1;
