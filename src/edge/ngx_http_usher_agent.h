
/*
 * ngx_http_usher_agent.h - who asks, by what the client says of itself.
 */


#ifndef _NGX_HTTP_USHER_AGENT_H_INCLUDED_
#define _NGX_HTTP_USHER_AGENT_H_INCLUDED_


#include "ngx_http_usher.h"

#include "usher_aho.h"


/* Whether it is a bot; what is not 0 is no person. */
#define NGX_HTTP_USHER_AGENT_PERSON   0  /* nothing says otherwise */
#define NGX_HTTP_USHER_AGENT_BOT      1  /* it is in a list of usher_bots */
#define NGX_HTTP_USHER_AGENT_MISSING  2  /* no User-Agent, or an empty one */

#define NGX_HTTP_USHER_DEVICE_UNKNOWN  0
#define NGX_HTTP_USHER_DEVICE_DESKTOP  1
#define NGX_HTTP_USHER_DEVICE_MOBILE   2
#define NGX_HTTP_USHER_DEVICE_TABLET   3
#define NGX_HTTP_USHER_DEVICE_TV       4  /* consoles as well */
#define NGX_HTTP_USHER_DEVICE_BOT      5
#define NGX_HTTP_USHER_DEVICES         6

#define NGX_HTTP_USHER_OS_OTHER        0
#define NGX_HTTP_USHER_OS_WINDOWS      1
#define NGX_HTTP_USHER_OS_MACOS        2
#define NGX_HTTP_USHER_OS_IOS          3  /* iPads as well */
#define NGX_HTTP_USHER_OS_ANDROID      4
#define NGX_HTTP_USHER_OS_LINUX        5
#define NGX_HTTP_USHER_OS_CHROMEOS     6
#define NGX_HTTP_USHER_OSES            7


#define NGX_HTTP_USHER_AGENT_HASH      (2 * sizeof(uint64_t))


/* What is known of the client of a main request. */
struct ngx_http_usher_agent_s {
    ngx_uint_t   bot;           /* NGX_HTTP_USHER_AGENT_* */
    ngx_uint_t   device;        /* NGX_HTTP_USHER_DEVICE_* */
    ngx_uint_t   os;            /* NGX_HTTP_USHER_OS_* */
    ngx_str_t   *tag;           /* of the list's entry; NULL: no bot */
    uint64_t     hash[2];       /* of its text; the same on all nodes */
};


/*
 * Looked at once, then kept for all of the request; works in any phase, and
 * without an usher_bots (then there are no bots).  Never NULL.
 */
ngx_http_usher_agent_t *ngx_http_usher_agent(ngx_http_request_t *r);

/* NGX_HTTP_USHER_AGENT_*: the same, for who asks for nothing else. */
ngx_uint_t ngx_http_usher_agent_bot(ngx_http_request_t *r);

/* As in $usher_device and $usher_os. */
extern ngx_str_t  ngx_http_usher_device_names[NGX_HTTP_USHER_DEVICES];
extern ngx_str_t  ngx_http_usher_os_names[NGX_HTTP_USHER_OSES];


/* ---- between ngx_http_usher_agent.c and its module ------------------- */


/* At most, in all lists. */
#define NGX_HTTP_USHER_AGENT_REGEXES  256

typedef struct {
#if (NGX_PCRE)
    ngx_regex_t  *regex;
#endif
    ngx_str_t     tag;
    ngx_str_t     text;
} ngx_http_usher_agent_regex_t;


/* A word of a list: number base and above in the matcher. */
typedef struct {
    ngx_str_t     tag;
    ngx_int_t     regex;        /* that needs it; -1: it is a bot's itself */
} ngx_http_usher_agent_word_t;


/* What was found in an agent, for the next who sends the same. */

#define NGX_HTTP_USHER_AGENT_KEPT       64
#define NGX_HTTP_USHER_AGENT_KEPT_TEXT  240

typedef struct {
    size_t        len;          /* 0: none is kept here */
    ngx_str_t    *tag;          /* NULL: no bot */
    ngx_uint_t    seen;
    uint64_t      hash[2];
    u_char        text[NGX_HTTP_USHER_AGENT_KEPT_TEXT];
} ngx_http_usher_agent_kept_t;


typedef struct {
    usher_aho_t  *aho;          /* words of agent.c, then those of lists */
    ngx_array_t  *given;        /* usher_aho_word_t; while they are read */
    ngx_uint_t    base;         /* number of the first of a list */
    ngx_array_t   words;        /* ngx_http_usher_agent_word_t */
    ngx_array_t   regexes;      /* ngx_http_usher_agent_regex_t */
    uint64_t      always[NGX_HTTP_USHER_AGENT_REGEXES / 64];
                                /* bits: regexes that need no word */
    int          *captures;     /* room for those of any regex; PCRE1 wants it
                                   for back references */
    ngx_uint_t    ncaptures;
    unsigned      listed:1;     /* there is an usher_bots */
    ngx_http_usher_agent_kept_t
                  kept[NGX_HTTP_USHER_AGENT_KEPT];    /* of this worker */
} ngx_http_usher_agent_conf_t;


/* Pushes the words that tell devices and systems. */
ngx_int_t ngx_http_usher_agent_words(ngx_array_t *given);


extern ngx_module_t  ngx_http_usher_agent_module;


#endif /* _NGX_HTTP_USHER_AGENT_H_INCLUDED_ */
