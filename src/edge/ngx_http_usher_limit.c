
/*
 * ngx_http_usher_limit.c - charges a request to its buckets, all or none.
 *
 * DESIGN
 *
 * All buckets are peeked at; if one denies, nothing was written.  Then each
 * word is swapped from what was seen to what it becomes, in the order of the
 * configuration.  When a swap is lost to another request, those done before
 * are swapped back; where that is lost too, the charge stands and is counted
 * (limit_races): it can only make the limit tighter.  Undoing by subtraction
 * could give units away that others had seen taken.  After three tries the
 * request is denied.
 *
 * A bucket's name has its plan in it: policies of one name may differ among
 * the plans of an org.  A word deeper than its bucket is therefore one of an
 * earlier configuration or policy.  It is left as it is until a request is
 * admitted: see ngx_http_usher_shallow().
 *
 * The words of a key's own buckets lie in its cell, which nothing pins: see
 * ngx_http_usher_request_words().
 */


#include "ngx_http_usher_limit.h"


#define NGX_HTTP_USHER_LIMIT_TRIES  3
#define NGX_HTTP_USHER_LIMIT_NAME   512     /* names of buckets on the stack */
#define NGX_HTTP_USHER_LIMIT_MEMOS  61


/* What RateLimit-Policy says of a bucket, kept by this process. */
typedef struct {
    uint64_t  quota;             /* 0: empty */
    uint64_t  window;
    size_t    name_len;
    size_t    len;
    u_char    name[NGX_HTTP_USHER_NAME_MAX];
    u_char    text[NGX_HTTP_USHER_NAME_MAX + 2 * NGX_INT64_LEN + 8];
} ngx_http_usher_memo_t;


static ngx_int_t ngx_http_usher_plan_charges(ngx_http_request_t *r,
    ngx_http_usher_ctx_t *ctx, ngx_http_usher_limit_use_t *use,
    ngx_http_usher_charge_t *charges, ngx_uint_t *n);
static ngx_atomic_t *ngx_http_usher_policy_word(ngx_http_usher_key_t *key,
    ngx_http_usher_policy_t *policy);
static ngx_int_t ngx_http_usher_own_charge(ngx_http_request_t *r,
    ngx_http_usher_limit_use_t *use, ngx_http_usher_charge_t *charge);
static ngx_int_t ngx_http_usher_cost(ngx_http_request_t *r,
    ngx_http_usher_limit_use_t *use, uint64_t *cost);
static ngx_int_t ngx_http_usher_peek(ngx_http_usher_charge_t *charges,
    ngx_uint_t n, uint64_t plan, uint64_t now);
static uint64_t ngx_http_usher_shallow(ngx_http_usher_charge_t *c,
    uint64_t plan);
static void ngx_http_usher_charge_undo(ngx_http_usher_charge_t *charges,
    ngx_uint_t n);
static ngx_http_usher_memo_t *ngx_http_usher_limit_memo(
    ngx_http_usher_charge_t *c, ngx_uint_t i);
static u_char *ngx_http_usher_limit_name(u_char *p, ngx_str_t *name);


ngx_int_t
ngx_http_usher_charges(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_limit_conf_t *lcf, ngx_uint_t early,
    ngx_http_usher_charge_t *charges, ngx_uint_t *n)
{
    ngx_int_t                    rc;
    ngx_uint_t                   i, bit, known;
    ngx_http_usher_limit_use_t  *use;

    *n = 0;
    use = lcf->uses->elts;

    for (i = 0; i < lcf->uses->nelts; i++) {

        if (use[i].early != early) {
            continue;
        }

        if (use[i].limit == NULL) {

            if (ctx->key == NULL || ctx->plan_charged
                || ctx->auth != NGX_HTTP_USHER_AUTH_OK)
            {
                continue;
            }

            known = *n;

            rc = ngx_http_usher_plan_charges(r, ctx, &use[i], charges, n);

            if (rc == NGX_BUSY && use[i].dry_run) {

                /* it would refuse nobody, and the other limits hold */

                ctx->limit = NGX_HTTP_USHER_LIMIT_UNAVAILABLE;
                *n = known;
                continue;
            }

        } else {
            bit = use[i].limit->bit;

            if (ctx->charged[bit / 64] & ((uint64_t) 1 << bit % 64)) {
                continue;
            }

            rc = ngx_http_usher_own_charge(r, &use[i], &charges[*n]);

            if (rc == NGX_DECLINED) {
                continue;
            }

            *n += 1;
        }

        if (rc != NGX_OK) {
            return rc;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_plan_charges(ngx_http_request_t *r, ngx_http_usher_ctx_t *ctx,
    ngx_http_usher_limit_use_t *use, ngx_http_usher_charge_t *charges,
    ngx_uint_t *n)
{
    uint64_t                  cost;
    ngx_int_t                 rc;
    ngx_uint_t                i;
    ngx_http_usher_plan_t    *plan;
    ngx_http_usher_charge_t  *c;
    ngx_http_usher_policy_t  *policy;

    rc = ngx_http_usher_request_plan(r, ctx, &plan);

    if (rc != NGX_OK || plan == NULL) {
        return rc;
    }

    rc = ngx_http_usher_request_words(r, ctx);

    if (rc != NGX_OK || ngx_http_usher_cost(r, use, &cost) != NGX_OK) {
        return rc == NGX_OK ? NGX_ERROR : rc;
    }

    policy = plan->policies;

    for (i = 0; i < plan->npolicies; i++) {

        c = &charges[*n];

        if (policy[i].gcra.interval == 0) {
            ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                          "usher: policy \"%V\" of plan \"%V\" is impossible",
                          &policy[i].name, &plan->name);
            return NGX_BUSY;
        }

        c->gcra = policy[i].gcra;
        c->word = ngx_http_usher_policy_word(ctx->key, &policy[i]);
        c->name = policy[i].name;
        c->name.len = ngx_min(c->name.len, NGX_HTTP_USHER_NAME_MAX);
        c->quota = policy[i].quota;
        c->window = policy[i].window;
        c->cost = cost;
        c->bit = -1;
        c->dry_run = use->dry_run;

        *n += 1;
    }

    return NGX_OK;
}


static ngx_atomic_t *
ngx_http_usher_policy_word(ngx_http_usher_key_t *key,
    ngx_http_usher_policy_t *policy)
{
    u_char  *p, name[1 + 2 * sizeof(uint64_t) + NGX_HTTP_USHER_NAME_MAX];

    if (policy->scope == NGX_HTTP_USHER_SCOPE_KEY
        && key->tat != NULL
        && policy->bucket < NGX_HTTP_USHER_POLICIES)
    {
        return &key->tat[policy->bucket];
    }

    p = name;

    if (policy->scope == NGX_HTTP_USHER_SCOPE_KEY) {
        *p++ = 'k';
        p = ngx_cpymem(p, &key->id, sizeof(uint64_t));

    } else {
        *p++ = 'o';
        p = ngx_cpymem(p, &key->org_id, sizeof(uint64_t));
    }

    p = ngx_cpymem(p, &key->plan_id, sizeof(uint64_t));
    p = ngx_cpymem(p, policy->name.data,
                   ngx_min(policy->name.len, NGX_HTTP_USHER_NAME_MAX));

    return ngx_http_usher_bucket(name, p - name);
}


/* NGX_DECLINED: the key is empty, nothing is to be limited. */

static ngx_int_t
ngx_http_usher_own_charge(ngx_http_request_t *r,
    ngx_http_usher_limit_use_t *use, ngx_http_usher_charge_t *charge)
{
    size_t                   len;
    u_char                  *name, *p;
    ngx_str_t                key;
    ngx_http_usher_limit_t  *limit;
    u_char                   text[NGX_HTTP_USHER_LIMIT_NAME];

    limit = use->limit;

    if (ngx_http_complex_value(r, &limit->key, &key) != NGX_OK) {
        return NGX_ERROR;
    }

    if (key.len == 0) {
        return NGX_DECLINED;
    }

    if (ngx_http_usher_cost(r, use, &charge->cost) != NGX_OK) {
        return NGX_ERROR;
    }

    len = 1 + limit->name.len + 1 + key.len;
    name = text;

    if (len > sizeof(text)) {
        name = ngx_pnalloc(r->pool, len);
        if (name == NULL) {
            return NGX_ERROR;
        }
    }

    p = name;
    *p++ = 'l';
    p = ngx_cpymem(p, limit->name.data, limit->name.len);
    *p++ = '\0';
    ngx_memcpy(p, key.data, key.len);

    charge->word = ngx_http_usher_bucket(name, len);
    charge->gcra = limit->gcra;
    charge->quota = limit->quota;
    charge->window = limit->window;
    charge->name = limit->name;
    charge->bit = limit->bit;
    charge->dry_run = use->dry_run;

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_cost(ngx_http_request_t *r, ngx_http_usher_limit_use_t *use,
    uint64_t *cost)
{
    size_t     i;
    ngx_int_t  n;
    ngx_str_t  value, *name;

    static ngx_str_t  plan = ngx_string("plan");

    if (use->cost == NULL) {
        *cost = use->units;
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, use->cost, &value) != NGX_OK) {
        return NGX_ERROR;
    }

    n = ngx_atoi(value.data, value.len);

    if (n != NGX_ERROR) {
        *cost = n;
        return NGX_OK;
    }

    for (i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') {
            break;
        }
    }

    /* a number that does not fit is more than any bucket holds */

    if (value.len && i == value.len) {
        *cost = NGX_MAX_INT_T_VALUE;
        return NGX_OK;
    }

    /* the text may be the client's, who may send it as often as he likes */

    name = use->limit ? &use->limit->name : &plan;

    ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                  "usher: the cost of limit \"%V\" is no number, 1 is taken",
                  name);

    *cost = 1;

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_charge(ngx_http_usher_charge_t *charges, ngx_uint_t n,
    uint64_t plan)
{
    uint64_t                  now;
    ngx_uint_t                i, tries;
    ngx_http_usher_charge_t  *c;

    c = charges;
    now = ngx_http_usher_monotonic();

    for (tries = 0; tries < NGX_HTTP_USHER_LIMIT_TRIES; tries++) {

        if (ngx_http_usher_peek(charges, n, plan, now) != NGX_OK) {
            break;
        }

        for (i = 0; i < n; i++) {
            c = &charges[i];

            if (c->word == NULL || c->denied || c->cost == 0) {
                continue;
            }

            if (ngx_atomic_cmp_set(c->word, c->old, c->take.tat)) {
                continue;
            }

            if (!c->dry_run) {
                break;
            }

            c->denied = 1;
        }

        if (i == n) {
            return NGX_OK;
        }

        ngx_http_usher_charge_undo(charges, i);
    }

    if (tries == NGX_HTTP_USHER_LIMIT_TRIES) {

        /* the bucket that was too busy */

        c->denied = 1;
        c->take.wait = c->gcra.interval;
    }

    /* the others are as they were */

    for (i = 0; i < n; i++) {
        c = &charges[i];

        if (!c->denied) {
            (void) usher_gcra_take(&c->gcra, c->tat, now, 0, &c->take);
        }
    }

    return NGX_DECLINED;
}


/* NGX_DECLINED: one of them at least denies. */

static ngx_int_t
ngx_http_usher_peek(ngx_http_usher_charge_t *charges, ngx_uint_t n,
    uint64_t plan, uint64_t now)
{
    ngx_int_t                 rc;
    ngx_uint_t                i;
    ngx_http_usher_charge_t  *c;

    rc = NGX_OK;

    for (i = 0; i < n; i++) {
        c = &charges[i];

        c->old = c->word ? *c->word : 0;
        c->tat = c->old;

        if (c->old > now + c->gcra.depth) {
            c->tat = ngx_http_usher_shallow(c, plan);
        }

        c->denied = !usher_gcra_take(&c->gcra, c->tat, now, c->cost,
                                     &c->take);

        if (c->denied && !c->dry_run) {
            rc = NGX_DECLINED;
        }
    }

    return rc;
}


/*
 * What counts of a word that is further ahead than its bucket is deep: a
 * bucket that was emptied when such a word of this policy was first met, so
 * that the new rate holds from then on and the change filled no bucket.  The
 * moment is kept in a bucket of its own, for who is denied does not write to
 * this one; it is drawn anew when it is past twice over.
 */

static uint64_t
ngx_http_usher_shallow(ngx_http_usher_charge_t *c, uint64_t plan)
{
    u_char             *p;
    uint64_t            empty;
    ngx_atomic_t       *word;
    ngx_atomic_uint_t   met;
    u_char              name[1 + 3 * sizeof(uint64_t)
                             + NGX_HTTP_USHER_NAME_MAX];

    /* the clock is read after the word: who wrote it may be ahead of now */

    empty = ngx_http_usher_monotonic() + c->gcra.depth;

    if (c->old <= empty) {
        return c->old;
    }

    p = name;
    *p++ = 'd';
    p = ngx_cpymem(p, &plan, sizeof(uint64_t));
    p = ngx_cpymem(p, &c->gcra.interval, sizeof(uint64_t));
    p = ngx_cpymem(p, &c->gcra.depth, sizeof(uint64_t));
    p = ngx_cpymem(p, c->name.data, c->name.len);

    word = ngx_http_usher_bucket(name, p - name);
    if (word == NULL) {
        return empty;
    }

    met = *word;

    if (met != 0 && met + 2 * c->gcra.depth > empty) {
        return met;
    }

    (void) ngx_atomic_cmp_set(word, met, empty);

    return empty;
}


/* Gives back what the first n were charged. */

static void
ngx_http_usher_charge_undo(ngx_http_usher_charge_t *charges, ngx_uint_t n)
{
    ngx_uint_t                i;
    ngx_http_usher_charge_t  *c;

    for (i = 0; i < n; i++) {
        c = &charges[i];

        if (c->word == NULL || c->denied || c->cost == 0) {
            continue;
        }

        if (!ngx_atomic_cmp_set(c->word, c->take.tat, c->old)) {
            ngx_http_usher_count(limit_races);
        }
    }
}


ngx_int_t
ngx_http_usher_limit_fields(ngx_http_request_t *r,
    ngx_http_usher_charge_t *charges, ngx_uint_t n)
{
    size_t                    len;
    u_char                   *p, *q;
    uint64_t                  left;
    ngx_str_t                 policy, state;
    ngx_uint_t                i;
    ngx_http_usher_memo_t    *memo;
    ngx_http_usher_charge_t  *c;

    static ngx_str_t  policy_name = ngx_string("RateLimit-Policy");
    static ngx_str_t  state_name = ngx_string("RateLimit");

    len = 0;

    for (i = 0; i < n; i++) {
        len += charges[i].name.len
               + sizeof("\"\";q=;w=, ") + 2 * NGX_INT64_LEN;
    }

    p = ngx_pnalloc(r->pool, 2 * len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    policy.data = p;
    state.data = q = p + len;

    for (i = 0; i < n; i++) {
        c = &charges[i];

        if (c->dry_run) {
            continue;
        }

        if (q != state.data) {
            *p++ = ','; *p++ = ' ';
            *q++ = ','; *q++ = ' ';
        }

        memo = ngx_http_usher_limit_memo(c, i);

        p = ngx_cpymem(p, memo->text, memo->len);
        q = ngx_cpymem(q, memo->text, c->name.len + 2);
        *q++ = ';'; *q++ = 'r'; *q++ = '=';

        /* of the quota: what a deeper bucket holds beyond it shows later */

        left = ngx_min(c->take.remaining, c->quota);
        q = ngx_http_usher_decimal(q, ngx_min(left, 999999999999999));

        if (c->take.remaining == 0) {
            *q++ = ';'; *q++ = 't'; *q++ = '=';
            q = ngx_http_usher_decimal(q, usher_gcra_seconds(c->take.next));
        }
    }

    policy.len = p - policy.data;
    state.len = q - state.data;

    if (policy.len == 0) {
        return NGX_OK;
    }

    if (ngx_http_usher_header(r, &policy_name, &policy) == NULL
        || ngx_http_usher_header(r, &state_name, &state) == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* "name";q=1;w=1 of a bucket, which hardly ever changes. */

static ngx_http_usher_memo_t *
ngx_http_usher_limit_memo(ngx_http_usher_charge_t *c, ngx_uint_t i)
{
    u_char                 *p;
    ngx_http_usher_memo_t  *memo;

    static ngx_http_usher_memo_t  memos[NGX_HTTP_USHER_LIMIT_MEMOS];

    memo = &memos[(c->quota + 8 * c->window + i) % NGX_HTTP_USHER_LIMIT_MEMOS];

    if (memo->quota == c->quota
        && memo->window == c->window
        && memo->name_len == c->name.len
        && ngx_memcmp(memo->name, c->name.data, c->name.len) == 0)
    {
        return memo;
    }

    memo->quota = c->quota;
    memo->window = c->window;
    memo->name_len = c->name.len;
    ngx_memcpy(memo->name, c->name.data, c->name.len);

    p = ngx_http_usher_limit_name(memo->text, &c->name);
    *p++ = ';'; *p++ = 'q'; *p++ = '=';
    p = ngx_http_usher_decimal(p, ngx_min(c->quota, 999999999999999));
    *p++ = ';'; *p++ = 'w'; *p++ = '=';
    p = ngx_http_usher_decimal(p, c->window);

    memo->len = p - memo->text;

    return memo;
}


/* A String of RFC 9651; names of plans come from elsewhere. */

static u_char *
ngx_http_usher_limit_name(u_char *p, ngx_str_t *name)
{
    size_t  i;

    *p++ = '"';

    for (i = 0; i < name->len; i++) {
        *p = name->data[i];

        if (*p < 0x20 || *p > 0x7e || *p == '"' || *p == '\\') {
            *p = '_';
        }

        p++;
    }

    *p++ = '"';

    return p;
}
