
/*
 * ngx_http_usher_redis.c - the directive usher_redis.
 *
 *     usher_redis ADDRESS [role=stream|directory|counters|all] [user=NAME]
 *                 [password_file=PATH];
 *
 * ADDRESS is unix:PATH or HOST:PORT; a name is resolved once, when the
 * configuration is read.  A role has one server: the directive may be given
 * several times, with different roles.  The client is in
 * ngx_http_usher_redis_client.c.
 */


#include "ngx_http_usher_redis.h"


#define NGX_HTTP_USHER_REDIS_PORT      6379
#define NGX_HTTP_USHER_REDIS_PASSWORD  512       /* bytes, at most */
#define NGX_HTTP_USHER_REDIS_ALL       0x7


typedef struct {
    ngx_array_t  servers;            /* of ngx_http_usher_redis_server_t */
} ngx_http_usher_redis_conf_t;


static void *ngx_http_usher_redis_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_usher_redis_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_usher_redis_address(ngx_conf_t *cf,
    ngx_http_usher_redis_server_t *server);
static char *ngx_http_usher_redis_role(ngx_conf_t *cf,
    ngx_http_usher_redis_server_t *server, ngx_str_t *role);
static char *ngx_http_usher_redis_password(ngx_conf_t *cf,
    ngx_http_usher_redis_server_t *server, ngx_str_t *path);
static void ngx_http_usher_redis_exit_process(ngx_cycle_t *cycle);


const char  *ngx_http_usher_redis_roles[NGX_HTTP_USHER_REDIS_ROLES] = {
    "stream",
    "directory",
    "counters"
};


static ngx_command_t  ngx_http_usher_redis_commands[] = {

    { ngx_string("usher_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_usher_redis_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_usher_redis_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_usher_redis_create_main_conf, /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_usher_redis_module = {
    NGX_MODULE_V1,
    &ngx_http_usher_redis_module_ctx,      /* module context */
    ngx_http_usher_redis_commands,         /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_usher_redis_exit_process,     /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_usher_redis_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_usher_redis_conf_t  *rcf;

    rcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_usher_redis_conf_t));
    if (rcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&rcf->servers, cf->pool, 2,
                       sizeof(ngx_http_usher_redis_server_t))
        != NGX_OK)
    {
        return NULL;
    }

    return rcf;
}


static char *
ngx_http_usher_redis_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_usher_redis_conf_t *rcf = conf;

    ngx_str_t                      *value, arg;
    ngx_uint_t                      i, roles;
    ngx_http_usher_redis_server_t  *server, *servers;

    value = cf->args->elts;

    roles = 0;
    servers = rcf->servers.elts;

    for (i = 0; i < rcf->servers.nelts; i++) {
        roles |= servers[i].roles;
    }

    server = ngx_array_push(&rcf->servers);
    if (server == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(server, sizeof(ngx_http_usher_redis_server_t));
    server->name = value[1];

    if (ngx_http_usher_redis_address(cf, server) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "role=", 5) == 0) {
            arg.data = value[i].data + 5;
            arg.len = value[i].len - 5;

            if (ngx_http_usher_redis_role(cf, server, &arg) != NGX_CONF_OK) {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        if (ngx_strncmp(value[i].data, "user=", 5) == 0 && value[i].len > 5) {
            server->user.data = value[i].data + 5;
            server->user.len = value[i].len - 5;
            continue;
        }

        if (ngx_strncmp(value[i].data, "password_file=", 14) == 0
            && value[i].len > 14)
        {
            arg.data = value[i].data + 14;
            arg.len = value[i].len - 14;

            if (ngx_http_usher_redis_password(cf, server, &arg)
                != NGX_CONF_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"", &value[i]);
        return NGX_CONF_ERROR;
    }

    if (server->user.len && server->password.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"user=\" needs a \"password_file=\"");
        return NGX_CONF_ERROR;
    }

    if (server->roles == 0) {
        server->roles = NGX_HTTP_USHER_REDIS_ALL;
    }

    for (i = 0; i < NGX_HTTP_USHER_REDIS_ROLES; i++) {
        if (server->roles & roles & (1 << i)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "another usher_redis has the role \"%s\"",
                               ngx_http_usher_redis_roles[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_redis_address(ngx_conf_t *cf,
    ngx_http_usher_redis_server_t *server)
{
    u_char     *p;
    size_t      len;
    ngx_url_t   u;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = server->name;
    u.default_port = NGX_HTTP_USHER_REDIS_PORT;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK || u.uri.len || u.naddrs == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s in \"%V\"",
                           u.err ? u.err : "invalid address", &u.url);
        return NGX_CONF_ERROR;
    }

    /* as text that ends in a NUL: that is how hiredis takes it */

    if (u.family == AF_UNIX) {
        server->path = ngx_pnalloc(cf->pool, u.host.len + 1);
        if (server->path == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_cpystrn(server->path, u.host.data, u.host.len + 1);

        return NGX_CONF_OK;
    }

    p = ngx_pnalloc(cf->pool, NGX_SOCKADDR_STRLEN + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    len = ngx_sock_ntop(u.addrs[0].sockaddr, u.addrs[0].socklen, p,
                        NGX_SOCKADDR_STRLEN, 0);
    p[len] = '\0';

    server->host = p;
    server->port = ngx_inet_get_port(u.addrs[0].sockaddr);

    return NGX_CONF_OK;
}


static char *
ngx_http_usher_redis_role(ngx_conf_t *cf,
    ngx_http_usher_redis_server_t *server, ngx_str_t *role)
{
    ngx_uint_t  i;

    if (role->len == 3 && ngx_strncmp(role->data, "all", 3) == 0) {
        server->roles = NGX_HTTP_USHER_REDIS_ALL;
        return NGX_CONF_OK;
    }

    for (i = 0; i < NGX_HTTP_USHER_REDIS_ROLES; i++) {
        if (role->len == ngx_strlen(ngx_http_usher_redis_roles[i])
            && ngx_strncmp(role->data, ngx_http_usher_redis_roles[i],
                           role->len)
               == 0)
        {
            server->roles |= 1 << i;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid role \"%V\", it must be \"stream\", "
                       "\"directory\", \"counters\" or \"all\"", role);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_usher_redis_password(ngx_conf_t *cf,
    ngx_http_usher_redis_server_t *server, ngx_str_t *path)
{
    u_char    *buf;
    ssize_t    n;
    ngx_fd_t   fd;

    if (ngx_conf_full_name(cf->cycle, path, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    buf = ngx_pnalloc(cf->pool, NGX_HTTP_USHER_REDIS_PASSWORD + 2);
    if (buf == NULL) {
        return NGX_CONF_ERROR;
    }

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", path);
        return NGX_CONF_ERROR;
    }

    /* room for a newline and for one byte that tells that it is too long */

    n = ngx_read_fd(fd, buf, NGX_HTTP_USHER_REDIS_PASSWORD + 2);

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_fd_n " \"%V\" failed", path);
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", path);
    }

    if (n == -1) {
        return NGX_CONF_ERROR;
    }

    if (n && buf[n - 1] == LF) {
        n--;
    }

    if (n && buf[n - 1] == CR) {
        n--;
    }

    if (n == 0 || n > NGX_HTTP_USHER_REDIS_PASSWORD) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" must hold a password of 1 to %d bytes",
                           path, NGX_HTTP_USHER_REDIS_PASSWORD);
        return NGX_CONF_ERROR;
    }

    server->password.data = buf;
    server->password.len = n;

    return NGX_CONF_OK;
}


ngx_uint_t
ngx_http_usher_redis_configured(ngx_conf_t *cf, const char *role)
{
    ngx_uint_t                      i, n;
    ngx_http_usher_redis_conf_t    *rcf;
    ngx_http_usher_redis_server_t  *servers;

    rcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_usher_redis_module);
    servers = rcf->servers.elts;

    for (i = 0; i < rcf->servers.nelts; i++) {
        for (n = 0; n < NGX_HTTP_USHER_REDIS_ROLES; n++) {
            if (servers[i].roles & (1 << n)
                && ngx_strcmp(ngx_http_usher_redis_roles[n], role) == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}


ngx_http_usher_redis_server_t *
ngx_http_usher_redis_server(ngx_cycle_t *cycle, ngx_uint_t role)
{
    ngx_uint_t                      i;
    ngx_http_usher_redis_conf_t    *rcf;
    ngx_http_usher_redis_server_t  *servers;

    rcf = ngx_http_cycle_get_module_main_conf(cycle,
                                              ngx_http_usher_redis_module);
    if (rcf == NULL) {
        return NULL;
    }

    servers = rcf->servers.elts;

    for (i = 0; i < rcf->servers.nelts; i++) {
        if (servers[i].roles & (1 << role)) {
            return &servers[i];
        }
    }

    return NULL;
}


/* nginx would report the sockets as left open. */

static void
ngx_http_usher_redis_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_usher_redis_close();
}
