import { listed, publish } from './shared.ts'

/**
 * KEYS room users profiles refs sessions docs logs closed — ARGV onlyIfEmpty memory channel payload
 *
 * Appends the removed room's createdAt to the payload, as the last line.
 */
export const removeRoom = `${listed}${publish}
local meta = redis.call('HGET', KEYS[1], 'meta')
if not meta then return false end
if ARGV[1] == '1' and redis.call('EXISTS', KEYS[2], KEYS[5]) > 0 then return false end
for _, name in ipairs(redis.call('SMEMBERS', KEYS[7])) do redis.call('DEL', KEYS[7] .. ':' .. name) end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7])
discardList(KEYS[1])
local createdAt = string.format('%.0f', cjson.decode(meta).createdAt)
redis.call('SET', KEYS[8], createdAt, 'PX', ARGV[2])
publish(ARGV[3], ARGV[4] .. '\\n' .. createdAt)
return meta
`

/** KEYS empty-rooms room users — ARGV room before */
export const forgetEmpty = `
-- If the server that wrote the entry has a slow clock, the entry looks older than it is.
if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('ZCARD', KEYS[3]) == 0 then return 0 end
local since = redis.call('ZSCORE', KEYS[1], ARGV[1])
if since and tonumber(since) <= tonumber(ARGV[2]) then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0
`

/** KEYS room — ARGV now field producers */
export const touch = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'activity', ARGV[1])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], ARGV[2], ARGV[3]) end
return 1
`
