
/*
 * ngx_http_usher_agent_module.c - usher_bots, $usher_bot, $usher_bot_tag,
 * $usher_device, $usher_os.
 *
 * A list is read by nginx's own parser, so that quotes and comments are as
 * everywhere else and what is wrong is named by file and line:
 *
 *     literal <tag> <text>;              has it in it
 *     prefix  <tag> <text>;              begins with it
 *     suffix  <tag> <text>;              ends with it
 *     regex   <tag> <text> [with=<word>];
 */


#include "ngx_http_usher_agent.h"


/* No flags of a word. */
#define NGX_HTTP_USHER_BOTS_REGEX  0x100


static ngx_int_t ngx_http_usher_agent_text(ngx_http_variable_value_t *v,
    ngx_str_t *text);
static ngx_int_t ngx_http_usher_agent_bot_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_agent_tag_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_agent_device_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_usher_agent_os_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static char *ngx_http_usher_bots(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_usher_bots_entry(ngx_conf_t *cf, ngx_command_t *dummy,
    void *conf);
static char *ngx_http_usher_bots_tag(ngx_conf_t *cf, ngx_str_t *tag);
static char *ngx_http_usher_bots_word(ngx_conf_t *cf,
    ngx_http_usher_agent_conf_t *acf, ngx_str_t *tag, ngx_str_t *text,
    unsigned flags, ngx_int_t regex);
static char *ngx_http_usher_bots_regex(ngx_conf_t *cf,
    ngx_http_usher_agent_conf_t *acf, ngx_str_t *value);
#if (NGX_PCRE)
static char *ngx_http_usher_bots_with(ngx_conf_t *cf, ngx_str_t *value,
    ngx_str_t *word);
#endif

static ngx_int_t ngx_http_usher_agent_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_usher_agent_init(ngx_conf_t *cf);
static void *ngx_http_usher_agent_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_usher_agent_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_usher_agent_alloc(void *data, size_t size);


/* Values are flags of a word. */

static ngx_conf_enum_t  ngx_http_usher_bots_kinds[] = {
    { ngx_string("literal"), 0 },
    { ngx_string("prefix"), USHER_AHO_FIRST },
    { ngx_string("suffix"), USHER_AHO_LAST },
    { ngx_string("regex"), NGX_HTTP_USHER_BOTS_REGEX },
    { ngx_null_string, 0 }
};


static ngx_command_t  ngx_http_usher_agent_commands[] = {

    { ngx_string("usher_bots"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_usher_bots,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_agent_module_ctx = {
    ngx_http_usher_agent_add_variables,    /* preconfiguration */
    ngx_http_usher_agent_init,             /* postconfiguration */

    ngx_http_usher_agent_create_main_conf, /* create main configuration */
    ngx_http_usher_agent_init_main_conf,   /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_usher_agent_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_agent_module_ctx,      /* module context */
    ngx_http_usher_agent_commands,         /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* nginx keeps their values: a client stays what it is. */

static ngx_http_variable_t  ngx_http_usher_agent_vars[] = {

    { ngx_string("usher_bot"), NULL, ngx_http_usher_agent_bot_variable,
      0, 0, 0 },

    { ngx_string("usher_bot_tag"), NULL, ngx_http_usher_agent_tag_variable,
      0, 0, 0 },

    { ngx_string("usher_device"), NULL, ngx_http_usher_agent_device_variable,
      0, 0, 0 },

    { ngx_string("usher_os"), NULL, ngx_http_usher_agent_os_variable,
      0, 0, 0 },

      ngx_http_null_variable
};


static ngx_int_t
ngx_http_usher_agent_text(ngx_http_variable_value_t *v, ngx_str_t *text)
{
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->len = text->len;
    v->data = text->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_usher_agent_bot_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    static ngx_str_t  no = ngx_string("0");
    static ngx_str_t  yes = ngx_string("1");

    return ngx_http_usher_agent_text(v, ngx_http_usher_agent_bot(r) ? &yes
                                                                    : &no);
}


static ngx_int_t
ngx_http_usher_agent_tag_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_usher_agent_t  *agent;

    agent = ngx_http_usher_agent(r);

    if (agent->tag == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    return ngx_http_usher_agent_text(v, agent->tag);
}


static ngx_int_t
ngx_http_usher_agent_device_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_usher_agent_t  *agent;

    agent = ngx_http_usher_agent(r);

    return ngx_http_usher_agent_text(v,
                                &ngx_http_usher_device_names[agent->device]);
}


static ngx_int_t
ngx_http_usher_agent_os_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_usher_agent_t  *agent;

    agent = ngx_http_usher_agent(r);

    return ngx_http_usher_agent_text(v, &ngx_http_usher_os_names[agent->os]);
}


static char *
ngx_http_usher_bots(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_agent_conf_t *acf = conf;

    char        *rv;
    ngx_str_t   *value, file;
    ngx_conf_t   save;

    value = cf->args->elts;

    if (value[1].len <= 5 || ngx_strncmp(value[1].data, "file=", 5) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    file.data = value[1].data + 5;
    file.len = value[1].len - 5;

    if (ngx_conf_full_name(cf->cycle, &file, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    acf->listed = 1;

    /* texts are needed until the matcher is built, and in errors */

    save = *cf;

    cf->pool = cf->temp_pool;
    cf->handler = ngx_http_usher_bots_entry;
    cf->handler_conf = conf;

    rv = ngx_conf_parse(cf, &file);

    *cf = save;

    return rv;
}


static char *
ngx_http_usher_bots_entry(ngx_conf_t *cf, ngx_command_t *dummy, void *conf)
{
    ngx_http_usher_agent_conf_t *acf = conf;

    char             *rv;
    ngx_str_t        *value;
    ngx_conf_enum_t  *kind;

    value = cf->args->elts;

    for (kind = ngx_http_usher_bots_kinds; kind->name.len; kind++) {
        if (ngx_strcmp(value[0].data, kind->name.data) == 0) {
            break;
        }
    }

    if (kind->name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown kind of entry \"%V\": \"literal\", "
                           "\"prefix\", \"suffix\" or \"regex\"", &value[0]);
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts < 3) {
        return "an entry needs a kind, a tag and a text";
    }

    rv = ngx_http_usher_bots_tag(cf, &value[1]);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (value[2].len == 0) {
        return "an entry has an empty text";
    }

    if (kind->value == NGX_HTTP_USHER_BOTS_REGEX) {
        return ngx_http_usher_bots_regex(cf, acf, value);
    }

    if (cf->args->nelts > 3) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                           &value[3]);
        return NGX_CONF_ERROR;
    }

    return ngx_http_usher_bots_word(cf, acf, &value[1], &value[2],
                                    kind->value, -1);
}


/* Into memory that stays. */

static char *
ngx_http_usher_bots_tag(ngx_conf_t *cf, ngx_str_t *tag)
{
    u_char      c, *p;
    ngx_uint_t  i;

    for (i = 0; i < tag->len; i++) {
        c = tag->data[i];

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-') {
            break;
        }
    }

    if (i == 0 || i != tag->len || i > NGX_HTTP_USHER_NAME_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid tag \"%V\": 1 to 32 of a-z, 0-9 and \"-\"",
                           tag);
        return NGX_CONF_ERROR;
    }

    p = ngx_pstrdup(cf->cycle->pool, tag);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    tag->data = p;

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_bots_word(ngx_conf_t *cf, ngx_http_usher_agent_conf_t *acf,
    ngx_str_t *tag, ngx_str_t *text, unsigned flags, ngx_int_t regex)
{
    usher_aho_word_t             *given;
    ngx_http_usher_agent_word_t  *word;

    given = ngx_array_push(acf->given);
    word = ngx_array_push(&acf->words);

    if (given == NULL || word == NULL) {
        return NGX_CONF_ERROR;
    }

    given->data = text->data;
    given->len = text->len;
    given->flags = flags;

    word->tag = *tag;
    word->regex = regex;

    return NGX_CONF_OK;
}


#if (NGX_PCRE)


static char *
ngx_http_usher_bots_regex(ngx_conf_t *cf, ngx_http_usher_agent_conf_t *acf,
    ngx_str_t *value)
{
    char                          *rv;
    u_char                         errstr[NGX_MAX_CONF_ERRSTR];
    ngx_str_t                      word;
    ngx_int_t                      i;
    ngx_regex_compile_t            rc;
    ngx_http_usher_agent_regex_t  *regex;

    rv = ngx_http_usher_bots_with(cf, value, &word);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    i = acf->regexes.nelts;

    if (i == NGX_HTTP_USHER_AGENT_REGEXES) {
        return "there are more than 256 entries \"regex\"";
    }

    regex = ngx_array_push(&acf->regexes);
    if (regex == NULL) {
        return NGX_CONF_ERROR;
    }

    /* PCRE1 looks for its end */

    regex->tag = value[1];
    regex->text.len = value[2].len;
    regex->text.data = ngx_pnalloc(cf->cycle->pool, value[2].len + 1);

    if (regex->text.data == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_cpystrn(regex->text.data, value[2].data, value[2].len + 1);

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    rc.pattern = regex->text;
    rc.pool = cf->cycle->pool;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%V", &rc.err);
        return NGX_CONF_ERROR;
    }

    regex->regex = rc.regex;
    acf->ncaptures = ngx_max(acf->ncaptures, (ngx_uint_t) rc.captures * 3 + 3);

    if (word.len == 0) {
        acf->always[i / 64] |= (uint64_t) 1 << (i % 64);
        return NGX_CONF_OK;
    }

    return ngx_http_usher_bots_word(cf, acf, &value[1], &word, 0, i);
}


/* The word that a regex needs, or an empty one. */

static char *
ngx_http_usher_bots_with(ngx_conf_t *cf, ngx_str_t *value, ngx_str_t *word)
{
    if (cf->args->nelts == 3) {
        ngx_str_null(word);
        return NGX_CONF_OK;
    }

    *word = value[cf->args->nelts - 1];

    if (cf->args->nelts > 4 || word->len <= 5
        || ngx_strncmp(word->data, "with=", 5) != 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                           word);
        return NGX_CONF_ERROR;
    }

    word->data += 5;
    word->len -= 5;

    return NGX_CONF_OK;
}


#else


static char *
ngx_http_usher_bots_regex(ngx_conf_t *cf, ngx_http_usher_agent_conf_t *acf,
    ngx_str_t *value)
{
    return "an entry \"regex\" needs an nginx with PCRE";
}


#endif


static ngx_int_t
ngx_http_usher_agent_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_usher_agent_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/* Who asks for bots and has no list would take all of them for people. */

static ngx_int_t
ngx_http_usher_agent_init(ngx_conf_t *cf)
{
    ngx_uint_t                    i;
    ngx_http_variable_t          *v;
    ngx_http_core_main_conf_t    *cmcf;
    ngx_http_usher_agent_conf_t  *acf;

    acf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_agent_module);
    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    if (acf->listed) {
        return NGX_OK;
    }

    v = cmcf->variables.elts;

    for (i = 0; i < cmcf->variables.nelts; i++) {

        /* one is the beginning of the other */

        if ((v[i].name.len == sizeof("usher_bot") - 1
             || v[i].name.len == sizeof("usher_bot_tag") - 1)
            && ngx_strncmp(v[i].name.data, "usher_bot_tag", v[i].name.len)
               == 0)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"$%V\" requires \"usher_bots\"", &v[i].name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static void *
ngx_http_usher_agent_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_usher_agent_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_agent_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->given = ngx_array_create(cf->temp_pool, 64,
                                   sizeof(usher_aho_word_t));
    if (conf->given == NULL) {
        return NULL;
    }

    if (ngx_array_init(&conf->words, cf->pool, 64,
                       sizeof(ngx_http_usher_agent_word_t))
        != NGX_OK
        || ngx_array_init(&conf->regexes, cf->pool, 1,
                          sizeof(ngx_http_usher_agent_regex_t))
           != NGX_OK)
    {
        return NULL;
    }

    if (ngx_http_usher_agent_words(conf->given) != NGX_OK) {
        return NULL;
    }

    conf->base = conf->given->nelts;

    return conf;
}


static char *
ngx_http_usher_agent_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_usher_agent_conf_t *acf = conf;

    acf->aho = usher_aho_create(acf->given->elts, acf->given->nelts, 0,
                                ngx_http_usher_agent_alloc, cf->pool);
    if (acf->aho == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "no memory for the matcher of agents");
        return NGX_CONF_ERROR;
    }

    acf->given = NULL;

    if (acf->ncaptures) {
        acf->captures = ngx_palloc(cf->pool, acf->ncaptures * sizeof(int));
        if (acf->captures == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_usher_agent_alloc(void *data, size_t size)
{
    return ngx_palloc(data, size);
}
