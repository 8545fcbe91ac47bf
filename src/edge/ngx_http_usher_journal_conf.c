
/*
 * ngx_http_usher_journal_conf.c - the directive usher_journal, what it must
 * keep to, and the directory it names.
 */


#include "ngx_http_usher_journal.h"


static ngx_int_t ngx_http_usher_journal_parameter(ngx_conf_t *cf,
    ngx_http_usher_journal_conf_t *jcf, ngx_str_t *value);
static ngx_int_t ngx_http_usher_journal_bytes(ngx_str_t *value,
    uint64_t *bytes);
static ngx_int_t ngx_http_usher_journal_sync(
    ngx_http_usher_journal_conf_t *jcf, ngx_str_t *value);


char *
ngx_http_usher_journal_directive(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf)
{
    ngx_http_usher_journal_conf_t  *jcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    if (jcf->path.data != NULL) {
        return "is duplicate";
    }

#if !(NGX_THREADS)
    return "needs an nginx built --with-threads";
#endif

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs a directory";
    }

    jcf->size = 1024 * 1024 * 1024;
    jcf->segment = 16 * 1024 * 1024;
    jcf->window = 64 * 1024 * 1024;
    jcf->retain = 3600 * 1000;
    jcf->sync = NGX_HTTP_USHER_SYNC_INTERVAL;
    jcf->interval = 1000;

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_http_usher_journal_parameter(cf, jcf, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    jcf->path = value[1];

    while (jcf->path.len > 1 && jcf->path.data[jcf->path.len - 1] == '/') {
        jcf->path.len--;
    }

    if (ngx_conf_full_name(cf->cycle, &jcf->path, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

#if (NGX_THREADS)
    jcf->pool = ngx_thread_pool_add(cf, NULL);

    if (jcf->pool == NULL) {
        return NGX_CONF_ERROR;
    }
#endif

    return ngx_http_usher_journal_check(cf, jcf);
}


static ngx_int_t
ngx_http_usher_journal_parameter(ngx_conf_t *cf,
    ngx_http_usher_journal_conf_t *jcf, ngx_str_t *value)
{
    ngx_int_t   rc;
    ngx_str_t   s;

    s = *value;

#define ngx_http_usher_is(name)                                               \
    (s.len > sizeof(name) - 1                                                 \
     && ngx_strncmp(s.data, name, sizeof(name) - 1) == 0                      \
     && (s.data += sizeof(name) - 1, s.len -= sizeof(name) - 1, 1))

    if (ngx_http_usher_is("size=")) {
        rc = ngx_http_usher_journal_bytes(&s, &jcf->size);

    } else if (ngx_http_usher_is("segment=")) {
        rc = ngx_http_usher_journal_bytes(&s, &jcf->segment);

    } else if (ngx_http_usher_is("window=")) {
        rc = ngx_http_usher_journal_bytes(&s, &jcf->window);

    } else if (ngx_http_usher_is("retain=")) {
        jcf->retain = (ngx_msec_t) ngx_parse_time(&s, 0);
        rc = (jcf->retain == (ngx_msec_t) NGX_ERROR) ? NGX_ERROR : NGX_OK;

    } else if (ngx_http_usher_is("sync=")) {
        rc = ngx_http_usher_journal_sync(jcf, &s);

    } else {
        rc = NGX_ERROR;
    }

#undef ngx_http_usher_is

    if (rc != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" of usher_journal", value);
    }

    return rc;
}


static ngx_int_t
ngx_http_usher_journal_bytes(ngx_str_t *value, uint64_t *bytes)
{
    off_t  n;

    n = ngx_parse_offset(value);

    if (n == (off_t) NGX_ERROR || n <= 0) {
        return NGX_ERROR;
    }

    *bytes = n;

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_journal_sync(ngx_http_usher_journal_conf_t *jcf,
    ngx_str_t *value)
{
    ngx_int_t  msec;

    if (value->len == 3 && ngx_strncmp(value->data, "off", 3) == 0) {
        jcf->sync = NGX_HTTP_USHER_SYNC_OFF;
        return NGX_OK;
    }

    if (value->len == 6 && ngx_strncmp(value->data, "always", 6) == 0) {
        jcf->sync = NGX_HTTP_USHER_SYNC_ALWAYS;
        return NGX_OK;
    }

    msec = ngx_parse_time(value, 0);

    if (msec == NGX_ERROR || msec == 0) {
        return NGX_ERROR;
    }

    jcf->sync = NGX_HTTP_USHER_SYNC_INTERVAL;
    jcf->interval = msec;

    return NGX_OK;
}


char *
ngx_http_usher_journal_check(ngx_conf_t *cf,
    ngx_http_usher_journal_conf_t *jcf)
{
    const char  *reason;

    reason = NULL;

    if (jcf->segment < USHER_SEGMENT_MIN) {
        reason = "segment must be at least 64k";

    } else if (jcf->segment > 1024 * 1024 * 1024) {
        reason = "segment must be at most 1g";

    } else if (jcf->segment % 4096 != 0) {
        reason = "segment must be a multiple of 4k";

    } else if (jcf->segment / 4 < USHER_EVENT_LOG_MAX) {
        reason = "segment must hold four of the longest request events";

    } else if (jcf->size / 4 < jcf->segment) {
        reason = "size must be at least four segments";

    } else if (jcf->window < jcf->segment / 4) {
        reason = "window must be at least a quarter of segment, "
                 "the longest event";

    } else if (jcf->window < NGX_HTTP_USHER_SHIP_SIZE) {
        reason = "window must be at least 64k";
    }

    if (reason != NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "usher_journal: %s", reason);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
