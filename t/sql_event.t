# Columns of each kind of event, as src/common has them, held against the
# tables that they are copied to; and one full row of each.

use lib 't/lib';
use Usher::Test;


my $t = Usher::Test->new;

$t->postgres;

# read from the source through the compiler, so that macros are resolved

my $dir = $t->dir;
my $source = $t->write_file('kinds.c', <<'C');
#include <stdio.h>
#include "usher_event.h"

int
main(void)
{
    const usher_event_kind_t  *k;

    for (k = usher_event_kinds(); k->kind; k++) {
        printf("%c%c|%s|%s|%s|%s|%u|%u\n", k->kind, k->version, k->table,
               k->columns, k->key_table ? k->key_table : "",
               k->key_columns ? k->key_columns : "", k->ncolumns,
               (unsigned) k->rolled);
    }

    return 0;
}
C

my $top = $t->top;
system("cc -o $dir/kinds -I$top/src/common $source "
       . "$top/src/common/usher_event.c") == 0
    or BAIL_OUT('the kinds do not compile');

my @kinds = map { chomp; [ split /\|/, $_, -1 ] } `$dir/kinds`;
ok(scalar(grep { $_->[0] eq 'r1' } @kinds), 'requests are a kind');


# Columns of a table that an event fills: all but those of the database.

sub columns {
    my ($table) = @_;

    return join ', ', map { $_->[0] } $t->rows(q{
        select attname from pg_attribute
        where attrelid = ?::regclass and attnum > 0 and not attisdropped
              and attname not in ('received_at', 'relabelled')
        order by attnum }, $table);
}


for my $kind (@kinds) {
    my ($tag, $table, $columns, $key_table, $key_columns, $n, $rolled)
        = @$kind;

    is(columns($table), $columns, "$tag: columns of $table, in order");
    is(scalar(split /, /, $columns), $n, "$tag: $n of them");

    if ($rolled) {
        my @rolled = qw(key_id route status units bytes_sent duration_ms
                        org_id);
        my @first = (split /, /, $columns)[1 .. @rolled];
        is("@first", "@rolled", "$tag: what is summed up stands first");
    }

    is($t->sql("select count(*) from pg_attribute a join pg_attrdef d
                on d.adrelid = a.attrelid and d.adnum = a.attnum
                where a.attrelid = ?::regclass
                and a.attname = 'received_at'", $table), 1,
       "$tag: received_at has a default");

    next unless $key_table;

    is(columns($key_table), $key_columns, "$tag: key columns");
    is($t->sql("select string_agg(a.attname, ', '
                       order by array_position(i.indkey::int2[], a.attnum))
                from pg_index i join pg_attribute a
                on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
                where i.indrelid = ?::regclass and i.indisprimary",
               $key_table), $key_columns, "$tag: which are its primary key");
    is($t->sql("select relkind = 'r' from pg_class
                where oid = ?::regclass", $key_table), 1,
       "$tag: and are unique over all days");
}

# the widest request there can be, as usherd copies it

my ($r) = grep { $_->[0] eq 'r1' } @kinds;
my @line = ('2026-11-20 11:50:00.123+00', 9223372036854775807, 'ü' x 32, 599,
            9223372036854775807, 9223372036854775807, 2147483647,
            9223372036854775807, 'i' x 64, 'n' x 64, 'M' x 16, 'h' x 128,
            'u' x 960, 'ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255',
            'a' x 256, 'r' x 256, 'reason', 'reason', 'HTTP/1.1', 3);
my @least = ('1970-01-01 00:00:00.000+00', '\N', '', 0, 0, 0, 0, '\N', '', '',
             '', '', '', '\N', '', '', '', '', '', 0);

my $db = $t->db;

for my $row (\@line, \@least) {
    $db->do("copy $r->[1] ($r->[2]) from stdin");
    $db->pg_putcopydata(join("\t", @$row) . "\n");
    $db->pg_putcopyend;
}

is($t->sql("select count(*) from $r->[1]"), 2, 'the widest and the emptiest');
is($t->sql("select pg_typeof(address) from $r->[1] limit 1"), 'inet',
   'an address is one');

# and of a conversion; its key is an index's, which takes no more than 2700

my ($v) = grep { $_->[0] eq 'v1' } @kinds;

for my $row ([ '2026-11-20 11:50:00.123+00', 9223372036854775807,
               9223372036854775807, 'o' x 16, 4, 'c' x 64, 'ü' x 64,
               's' x 64, '9' x 32, '9' x 32, 'e' x 16, 'k' x 128, 'p' x 64,
               't' x 64, 'm' x 128, 'u' x 128, 'c' x 263,
               '\\\\x' . 'ff' x 32, 'n' x 64, 'i' x 64,
               '2001:db8::1', 'q' x 2048, 3 ],
             [ '1970-01-01 00:00:00.000+00', 0, 0, '', 0, ('') x 12, '\\\\x',
               '', '', '\N', '', 0 ])
{
    $db->do("copy $v->[1] ($v->[2]) from stdin");
    $db->pg_putcopydata(join("\t", @$row) . "\n");
    $db->pg_putcopyend;
}

is($t->sql("select sum(octet_length(digest)) from $v->[1]"), 32,
   'the widest and the emptiest conversion');
is($t->sql("insert into $v->[3] ($v->[4]) select $v->[4] from $v->[1]"), 2,
   'and their keys');

done_testing();
