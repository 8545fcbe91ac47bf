
/*
 * ngx_http_usher_directory_record.c - records of Redis into the structs of
 * the edge.
 *
 * Records come from outside: each length is checked against its struct
 * before a byte is copied, and whatever is not exactly of the form is
 * corrupt, which is an answer of its own ("cannot know") and never "unknown
 * key".  Runs once per fetch, never per request.
 */


#include "ngx_http_usher_record.h"


/* A packed plan: this, then npolicies policies, then the names. */
typedef struct {
    uint64_t    id;
    uint32_t    npolicies;
    uint32_t    name;              /* bytes */
} ngx_http_usher_packed_plan_t;

typedef struct {
    uint64_t    quota;
    uint64_t    window;
    uint64_t    burst;
    uint16_t    scope;
    uint16_t    bucket;
    uint32_t    name;              /* bytes */
} ngx_http_usher_packed_policy_t;


static ngx_int_t ngx_http_usher_record_load(ngx_str_t *text,
    ngx_str_t *ready, json_t **root, const char **reason);
static ngx_int_t ngx_http_usher_record_head(json_t *root, ngx_str_t *ready,
    const char **reason);
static const char *ngx_http_usher_record_key_fields(json_t *root,
    ngx_http_usher_key_t *key);
static const char *ngx_http_usher_record_key_texts(json_t *root,
    ngx_http_usher_key_t *key);
static const char *ngx_http_usher_record_plan_pack(json_t *root, u_char *buf,
    size_t *len);
static const char *ngx_http_usher_record_policy(json_t *object,
    ngx_http_usher_packed_policy_t *policy, ngx_str_t *name);


ngx_int_t
ngx_http_usher_record_key(ngx_str_t *text, ngx_str_t *ready,
    ngx_http_usher_key_t *key, const char **reason)
{
    json_t     *root;
    ngx_int_t   rc;

    rc = ngx_http_usher_record_load(text, ready, &root, reason);

    if (rc != NGX_OK) {
        return rc;
    }

    *reason = ngx_http_usher_record_key_fields(root, key);

    if (*reason == NULL) {
        *reason = ngx_http_usher_record_key_texts(root, key);
    }

    json_decref(root);

    return *reason ? NGX_ERROR : NGX_OK;
}


ngx_int_t
ngx_http_usher_record_pack(ngx_uint_t kind, ngx_str_t *text, ngx_str_t *ready,
    u_char *buf, size_t *len, const char **reason)
{
    json_t     *root;
    ngx_int_t   rc;

    rc = ngx_http_usher_record_load(text, ready, &root, reason);

    if (rc != NGX_OK) {
        return rc;
    }

    switch (kind) {

    case NGX_HTTP_USHER_KIND_PLAN:
        *reason = ngx_http_usher_record_plan_pack(root, buf, len);
        break;

    case NGX_HTTP_USHER_KIND_DOMAIN:
        *reason = ngx_http_usher_domain_pack(root, buf, len);
        break;

    case NGX_HTTP_USHER_KIND_CLICK_KEY:
        *reason = ngx_http_usher_click_key_pack(root, buf, len);
        break;

    case NGX_HTTP_USHER_KIND_POSTBACK:
        *reason = ngx_http_usher_postback_pack(root, buf, len);
        break;

    default: /* NGX_HTTP_USHER_KIND_LINK */
        *reason = ngx_http_usher_link_pack(root, buf, len);
    }

    json_decref(root);

    return *reason ? NGX_ERROR : NGX_OK;
}


/* *root is to be released after NGX_OK only. */

static ngx_int_t
ngx_http_usher_record_load(ngx_str_t *text, ngx_str_t *ready, json_t **root,
    const char **reason)
{
    ngx_int_t     rc;
    json_error_t  error;

    if (text->len > NGX_HTTP_USHER_RECORD_MAX) {
        *reason = "it is too long";
        return NGX_ERROR;
    }

    *root = json_loadb((char *) text->data, text->len,
                       JSON_REJECT_DUPLICATES, &error);

    if (*root == NULL) {
        *reason = "it is not JSON";
        return NGX_ERROR;
    }

    rc = ngx_http_usher_record_head(*root, ready, reason);

    if (rc != NGX_OK) {
        json_decref(*root);
        *root = NULL;
    }

    return rc;
}


static ngx_int_t
ngx_http_usher_record_head(json_t *root, ngx_str_t *ready,
    const char **reason)
{
    uint64_t   version;
    ngx_str_t  lineage;

    if (!json_is_object(root)
        || ngx_http_usher_record_number(root, "v", 1, INT64_MAX, &version)
           != NGX_OK
        || ngx_http_usher_record_text(root, "l", 16, &lineage) != NGX_OK)
    {
        *reason = "it has no version or lineage";
        return NGX_ERROR;
    }

    if (lineage.len != ready->len
        || ngx_memcmp(lineage.data, ready->data, lineage.len) != 0)
    {
        return NGX_BUSY;
    }

    if (json_object_get(root, "gone") != NULL) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_record_number(json_t *object, const char *name, uint64_t min,
    uint64_t max, uint64_t *value)
{
    json_t      *member;
    json_int_t   number;

    member = json_object_get(object, name);

    if (!json_is_integer(member)) {
        return NGX_ERROR;
    }

    number = json_integer_value(member);

    if (number < 0 || (uint64_t) number < min || (uint64_t) number > max) {
        return NGX_ERROR;
    }

    *value = (uint64_t) number;

    return NGX_OK;
}


ngx_int_t
ngx_http_usher_record_text(json_t *object, const char *name, size_t max,
    ngx_str_t *value)
{
    size_t   i;
    json_t  *member;

    member = json_object_get(object, name);

    if (!json_is_string(member)) {
        return NGX_ERROR;
    }

    value->data = (u_char *) json_string_value(member);
    value->len = json_string_length(member);

    if (value->len > max) {
        return NGX_ERROR;
    }

    for (i = 0; i < value->len; i++) {
        if (value->data[i] < 0x20 || value->data[i] == 0x7f) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * A key in its grace period is ROTATED with an end: the look-up tells it by
 * the clock from one whose grace has passed.
 */

static const char *
ngx_http_usher_record_key_fields(json_t *root, ngx_http_usher_key_t *key)
{
    json_t      *member;
    uint64_t     expires;
    const char  *state;

    if (ngx_http_usher_record_number(root, "id", 1, INT64_MAX, &key->id)
        != NGX_OK
        || ngx_http_usher_record_number(root, "org_id", 1, INT64_MAX,
                                        &key->org_id)
           != NGX_OK)
    {
        return "its id or org_id is missing";
    }

    key->plan_id = 0;
    member = json_object_get(root, "plan_id");

    if (member == NULL
        || (!json_is_null(member)
            && ngx_http_usher_record_number(root, "plan_id", 1, INT64_MAX,
                                            &key->plan_id)
               != NGX_OK))
    {
        return "its plan_id is wrong";
    }

    expires = 0;
    member = json_object_get(root, "exp");

    if (member == NULL
        || (!json_is_null(member)
            && ngx_http_usher_record_number(root, "exp", 0, INT64_MAX,
                                            &expires)
               != NGX_OK))
    {
        return "its exp is wrong";
    }

    /* 0 means never; what ended in 1970 ended a second later */

    key->expires = (time_t) (json_is_null(member) || expires ? expires : 1);

    state = json_string_value(json_object_get(root, "state"));

    if (state == NULL) {
        return "its state is missing";
    }

    if (ngx_strcmp(state, "active") == 0) {
        key->state = json_object_get(root, "rot") != NULL
                     ? NGX_HTTP_USHER_KEY_ROTATED : NGX_HTTP_USHER_KEY_ACTIVE;

    } else if (ngx_strcmp(state, "revoked") == 0) {
        key->state = NGX_HTTP_USHER_KEY_REVOKED;

    } else if (ngx_strcmp(state, "rotated") == 0) {
        key->state = NGX_HTTP_USHER_KEY_ROTATED;

    } else if (ngx_strcmp(state, "disabled") == 0) {
        key->state = NGX_HTTP_USHER_KEY_DISABLED;

    } else {
        return "its state is unknown";
    }

    return NULL;
}


static const char *
ngx_http_usher_record_key_texts(json_t *root, ngx_http_usher_key_t *key)
{
    u_char      *p;
    ngx_uint_t   i;

    struct {
        const char  *name;
        size_t       max;
        ngx_str_t   *to;
    } texts[] = {
        { "org", NGX_HTTP_USHER_NAME_MAX, &key->org },
        { "scope", NGX_HTTP_USHER_TEXT_MAX, &key->scope },
        { "allow", NGX_HTTP_USHER_TEXT_MAX, &key->allow }
    };

    p = key->text;

    for (i = 0; i < 3; i++) {
        if (ngx_http_usher_record_text(root, texts[i].name, texts[i].max,
                                       texts[i].to)
            != NGX_OK)
        {
            return "its org, scope or allow is missing or too long";
        }

        ngx_memcpy(p, texts[i].to->data, texts[i].to->len);
        texts[i].to->data = p;
        p += texts[i].to->len;
    }

    key->tat = NULL;

    return NULL;
}


static const char *
ngx_http_usher_record_plan_pack(json_t *root, u_char *buf, size_t *len)
{
    size_t                           i, n;
    u_char                          *p, *text;
    json_t                          *policies;
    ngx_str_t                        name;
    const char                      *reason;
    ngx_http_usher_packed_plan_t     plan;
    ngx_http_usher_packed_policy_t   policy;

    policies = json_object_get(root, "policies");

    if (ngx_http_usher_record_number(root, "id", 1, INT64_MAX, &plan.id)
        != NGX_OK
        || ngx_http_usher_record_text(root, "name", NGX_HTTP_USHER_NAME_MAX,
                                      &name)
           != NGX_OK
        || !json_is_array(policies))
    {
        return "its id, name or policies are wrong";
    }

    n = json_array_size(policies);

    if (n > sizeof(((ngx_http_usher_plan_t *) 0)->policies)
            / sizeof(ngx_http_usher_policy_t))
    {
        return "it has too many policies";
    }

    plan.npolicies = (uint32_t) n;
    plan.name = (uint32_t) name.len;

    p = ngx_cpymem(buf, &plan, sizeof(ngx_http_usher_packed_plan_t));
    text = p + n * sizeof(ngx_http_usher_packed_policy_t);
    text = ngx_cpymem(text, name.data, name.len);

    for (i = 0; i < n; i++) {
        reason = ngx_http_usher_record_policy(json_array_get(policies, i),
                                              &policy, &name);
        if (reason != NULL) {
            return reason;
        }

        p = ngx_cpymem(p, &policy, sizeof(ngx_http_usher_packed_policy_t));
        text = ngx_cpymem(text, name.data, name.len);
    }

    *len = text - buf;

    return NULL;
}


static const char *
ngx_http_usher_record_policy(json_t *object,
    ngx_http_usher_packed_policy_t *policy, ngx_str_t *name)
{
    uint64_t    bucket;
    ngx_str_t   scope;

    ngx_memzero(policy, sizeof(ngx_http_usher_packed_policy_t));

    if (ngx_http_usher_record_text(object, "name", NGX_HTTP_USHER_NAME_MAX,
                                   name)
        != NGX_OK
        || ngx_http_usher_record_text(object, "scope", 8, &scope) != NGX_OK
        || ngx_http_usher_record_number(object, "quota", 1, 1000000000,
                                        &policy->quota)
           != NGX_OK
        || ngx_http_usher_record_number(object, "window", 1, 86400,
                                        &policy->window)
           != NGX_OK
        || ngx_http_usher_record_number(object, "burst", 1, 1000000000,
                                        &policy->burst)
           != NGX_OK
        || ngx_http_usher_record_number(object, "bucket", 0,
                                        NGX_HTTP_USHER_POLICIES - 1, &bucket)
           != NGX_OK)
    {
        return "a policy of it is wrong";
    }

    if (scope.len != 3 || (ngx_strncmp(scope.data, "key", 3) != 0
                           && ngx_strncmp(scope.data, "org", 3) != 0))
    {
        return "the scope of a policy of it is unknown";
    }

    policy->scope = (scope.data[0] == 'k') ? NGX_HTTP_USHER_SCOPE_KEY
                                           : NGX_HTTP_USHER_SCOPE_ORG;
    policy->bucket = (uint16_t) bucket;
    policy->name = (uint32_t) name->len;

    return NULL;
}


ngx_int_t
ngx_http_usher_plan_unpack(u_char *buf, size_t len,
    ngx_http_usher_plan_t *plan)
{
    u_char                          *p, *text, *end;
    uint32_t                         i;
    ngx_http_usher_policy_t         *policy;
    ngx_http_usher_packed_plan_t     head;
    ngx_http_usher_packed_policy_t   packed;

    end = buf + len;

    if (len < sizeof(ngx_http_usher_packed_plan_t)) {
        return NGX_ERROR;
    }

    ngx_memcpy(&head, buf, sizeof(ngx_http_usher_packed_plan_t));

    p = buf + sizeof(ngx_http_usher_packed_plan_t);

    if (head.npolicies > sizeof(plan->policies) / sizeof(plan->policies[0])
        || head.npolicies * sizeof(ngx_http_usher_packed_policy_t)
           > (size_t) (end - p))
    {
        return NGX_ERROR;
    }

    text = p + head.npolicies * sizeof(ngx_http_usher_packed_policy_t);

    if ((size_t) (end - text) > sizeof(plan->text)) {
        return NGX_ERROR;
    }

    len = end - text;
    ngx_memcpy(plan->text, text, len);

    text = plan->text;
    end = plan->text + len;

    if (head.name > (size_t) (end - text)) {
        return NGX_ERROR;
    }

    plan->id = head.id;
    plan->npolicies = head.npolicies;
    plan->name.data = text;
    plan->name.len = head.name;
    text += head.name;

    for (i = 0; i < head.npolicies; i++) {
        ngx_memcpy(&packed, p, sizeof(ngx_http_usher_packed_policy_t));
        p += sizeof(ngx_http_usher_packed_policy_t);

        if (packed.name > (size_t) (end - text)) {
            return NGX_ERROR;
        }

        policy = &plan->policies[i];

        policy->name.data = text;
        policy->name.len = packed.name;
        policy->quota = packed.quota;
        policy->window = packed.window;
        policy->scope = packed.scope;
        policy->bucket = packed.bucket;

        if (usher_gcra_init(&policy->gcra, packed.quota, packed.window,
                            packed.burst)
            != 0)
        {
            policy->gcra.interval = 0;
        }

        text += packed.name;
    }

    return NGX_OK;
}
