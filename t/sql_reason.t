# The reasons of clicks, as src/common has them, held against the table.

use lib 't/lib';
use Usher::Test;

my $t = Usher::Test->new;

$t->postgres;

my ($dir, $top) = ($t->dir, $t->top);
my $source = $t->write_file('reasons.c', <<'C');
#include <stdio.h>
#include "usher_click.h"

int
main(void)
{
#define _(name, number, word, net)                                            \
    printf("%d %s %d\n", number, word, net);
    USHER_CLICK_REASONS(_)

    return 0;
}
C

system("cc -o $dir/reasons -I$top/src/common $source") == 0
    or BAIL_OUT('the reasons do not compile');

is(join('', map { "@$_\n" } @{ $t->db->selectall_arrayref(
        'select reason, word, counted::int from usher.click_reason '
        . 'order by reason') }),
   `$dir/reasons`, 'one list');

done_testing();
