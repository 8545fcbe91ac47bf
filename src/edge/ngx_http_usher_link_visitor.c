
/*
 * ngx_http_usher_link_visitor.c - who clicks, as far as that has to be known.
 *
 * A visitor is address (the /64 of IPv6) and the hash of User-Agent, hashed by
 * SipHash under the salt of the day.  Addresses and agents are few enough to
 * try them all, whatever the hash: what protects them is that the salt is
 * secret, and gone when the day has passed.
 *
 * Who clicks on a link again within the hour is found in the zone at once;
 * who did so at another node, or was forgotten here, by usher.keep_clicks().
 * Only clicks that count otherwise are seen: no robot spoils a person's.
 */


#include "ngx_http_usher_agent.h"
#include "ngx_http_usher_link.h"
#include "ngx_http_usher_zone.h"

#include "usher_siphash.h"


static ngx_uint_t ngx_http_usher_link_again(ngx_http_usher_click_t *click,
    uint64_t visitor[2]);


void
ngx_http_usher_link_visitor(ngx_http_request_t *r,
    ngx_http_usher_link_conf_t *llcf, ngx_http_usher_click_t *click)
{
    u_char                       text[NGX_HTTP_USHER_ADDRESS
                                      + NGX_HTTP_USHER_AGENT_HASH];
    size_t                       len;
    uint64_t                     salt[2], visitor[2];
    const usher_click_reason_t  *reason;

    if (!llcf->visitor || ngx_http_usher_salt(salt) != NGX_OK) {
        return;
    }

    len = ngx_http_usher_address_key(r, text);

    if (len == 0) {
        return;
    }

    ngx_memcpy(text + len, ngx_http_usher_agent(r)->hash,
               NGX_HTTP_USHER_AGENT_HASH);

    usher_siphash(salt, (int) len, text, len + NGX_HTTP_USHER_AGENT_HASH,
                  visitor);

    usher_hex64_text(visitor[0], (char *) click->hash);
    click->visitor.data = click->hash;
    click->visitor.len = NGX_HTTP_USHER_VISITOR;

    reason = usher_click_reason((unsigned) click->reason);

    if (click->link != NULL && reason != NULL && reason->net
        && ngx_http_usher_link_again(click, visitor))
    {
        click->reason = USHER_CLICK_DUPLICATE;
    }
}


static ngx_uint_t
ngx_http_usher_link_again(ngx_http_usher_click_t *click, uint64_t visitor[2])
{
    uint64_t  hash[2];
    unsigned  seen;

    if (ngx_http_usher_zone.head == NULL) {
        return 0;
    }

    usher_siphash(visitor, -1, &click->link->id, sizeof(uint64_t), hash);

    seen = usher_seen(&ngx_http_usher_zone.clicks, hash,
                      ngx_current_msec / 1000);

    if (seen == USHER_SEEN_FORGOT) {
        ngx_http_usher_count(clicks_forgotten);
    }

    return seen == USHER_SEEN_AGAIN;
}
