-- The main job in Lua: checksum, digest, look-up, bucket, two header fields.
--
-- Written as one who knows lua-nginx-module would: ffi for SHA-256, locals
-- for all functions, nothing allocated that need not be.  "shared" keeps keys
-- and buckets in shared dictionaries.  "redis" asks Redis for the key and
-- counts there, in one round trip over a pooled connection.

local ffi = require "ffi"

ffi.cdef [[
int SHA256_Init(void *c);
int SHA256_Update(void *c, const void *data, size_t len);
int SHA256_Final(unsigned char *md, void *c);
]]

local libcrypto = ffi.load("crypto.so.3", true)
local context = ffi.new("uint64_t[16]")          -- SHA256_CTX: 112 bytes
local digest = ffi.new("unsigned char[32]")
local ffi_string = ffi.string

local var = ngx.var
local header = ngx.header
local crc32 = ngx.crc32_long
local now = ngx.now
local exit = ngx.exit
local sub, byte, find = string.sub, string.byte, string.find
local floor, max, ceil = math.floor, math.max, math.ceil

local keys = ngx.shared.keys
local buckets = ngx.shared.buckets

local RATE, BURST = 1000000, 1000000
local INTERVAL = 1 / RATE
local TOLERANCE = BURST * INTERVAL
local POLICY = '"rps";q=' .. RATE .. ";w=1"

local M = {}


local base62 = {}

for i = 0, 61 do
    local c = byte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                   .. "abcdefghijklmnopqrstuvwxyz", i + 1)
    base62[c] = i
end


local function wellformed(key)
    local n = #key
    local sum = 0

    if n < 43 or n > 58 or not find(key, "_", 1, true) then
        return false
    end

    for i = n - 5, n do
        local d = base62[byte(key, i)]

        if not d then
            return false
        end

        sum = sum * 62 + d
    end

    return sum == crc32(sub(key, 1, n - 6))
end


local function sha256(key)
    libcrypto.SHA256_Init(context)
    libcrypto.SHA256_Update(context, key, #key)
    libcrypto.SHA256_Final(digest, context)

    return ffi_string(digest, 32)
end


local function credential()
    local key = var.http_x_api_key

    if not key or not wellformed(key) then
        header["WWW-Authenticate"] = 'Bearer realm="api"'
        return exit(401)
    end

    return sha256(key)
end


local function fields(remaining, reset)
    header["RateLimit-Policy"] = POLICY
    header["RateLimit"] = '"rps";r=' .. remaining .. ";t=" .. reset
end


-- The record is "<id> <org> <expiry>", as loaded by the init phase.

local function admitted(record)
    local expiry = tonumber(sub(record, 1, 10))

    return expiry == 0 or expiry > now()
end


function M.load(key, expiry)
    keys:set(sha256(key), string.format("%010d 1 acme read", expiry))
end


function M.shared()
    local id = credential()
    local record = keys:get(id)

    if not record or not admitted(record) then
        header["WWW-Authenticate"] =
            'Bearer realm="api", error="invalid_token"'
        return exit(401)
    end

    local t = now()
    local tat = max(buckets:get(id) or 0, t) + INTERVAL
    local room = TOLERANCE - (tat - t)

    if room < 0 then
        header["Retry-After"] = ceil(-room)
        return exit(429)
    end

    buckets:set(id, tat)
    fields(floor(room * RATE), 1)
end


function M.redis()
    local redis = require("nginx.redis"):new()

    redis:set_timeout(1000)

    local ok = redis:connect(M.socket)

    if not ok then
        return exit(503)
    end

    local id = ngx.encode_base64(credential())
    local counter = "n:" .. floor(now()) .. ":" .. id

    redis:init_pipeline(2)
    redis:get("key:" .. id)
    redis:incr(counter)

    local answers = redis:commit_pipeline()

    if not answers then
        return exit(503)
    end

    if answers[2] == 1 then
        redis:expire(counter, 2)
    end

    redis:set_keepalive(60000, 64)

    local record, count = answers[1], answers[2]

    if record == ngx.null or not admitted(record) then
        header["WWW-Authenticate"] =
            'Bearer realm="api", error="invalid_token"'
        return exit(401)
    end

    if count > BURST then
        header["Retry-After"] = 1
        return exit(429)
    end

    fields(BURST - count, 1)
end


return M
