-- The job of usher_link in Lua: the link is looked up in Redis and the click
-- is written there, in one round trip over a pooled connection.
--
-- The record is "<link> <org> <status> <url>"; as in the module macros are
-- expanded and no answer is kept by anybody.

local redis = require "nginx.redis"

local var = ngx.var
local header = ngx.header
local now = ngx.now
local exit = ngx.exit
local find, sub = string.find, string.sub
local gsub, match = string.gsub, string.match

local M = {}

redis.add_commands("xadd")


function M.go()
    local client = redis:new()

    client:set_timeout(1000)

    if not client:connect(M.socket) then
        return exit(503)
    end

    local host, slug = var.host, var.slug
    local id = var.request_id

    client:init_pipeline(2)
    client:get("link:" .. host .. "/" .. slug)
    client:xadd("clicks", "MAXLEN", "~", "100000", "*", "time", now(),
                "id", id, "host", host, "slug", slug,
                "address", match(var.remote_addr, "^%d+%.%d+%.%d+%.") or "",
                "language", sub(var.http_accept_language or "", 1, 5),
                "referrer", match(var.http_referer or "", "^%a+://([^/]+)")
                            or "")

    local answers = client:commit_pipeline()

    if not answers then
        return exit(503)
    end

    client:set_keepalive(60000, 64)

    local record = answers[1]

    if not record or record == ngx.null then
        return exit(404)
    end

    local status, url = match(record, "^%d+ %d+ (%d+) (.+)$")

    if find(url, "{", 1, true) then
        url = gsub(url, "{click_id}", id)
    end

    header["Location"] = url
    header["Cache-Control"] = "private, no-store"
    header["X-Robots-Tag"] = "noindex"
    header["Referrer-Policy"] = "no-referrer-when-downgrade"
    header["Content-Length"] = 0

    ngx.status = tonumber(status)
    ngx.send_headers()
end


return M
