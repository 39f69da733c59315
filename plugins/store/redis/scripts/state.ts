import { clock, publish } from './shared.ts'

/**
 * KEYS room docs — ARGV name expected state channel payload recovery
 *
 * Replaces the state of a document if the document has the expected version, and publishes the payload.
 * The new version is appended to the payload, as the last line. The version's number is at least the
 * current time in microseconds, so it is higher than every number that was assigned before a loss.
 *
 * @returns false if there is no room; RESTORING while servers restore a lost room (nothing is changed);
 *   DONE and the version; or OTHER, the current version, and the state if there is one
 */
export const swapDocument = `${publish}${clock}
local known = redis.call('HMGET', KEYS[1], 'meta', 'restored')
local meta, restored = known[1], tonumber(known[2])
if not meta then return false end
local changes, now = ARGV[3] ~= '', clock()
-- If the clock was set back, nobody waits.
if changes and restored and now >= restored and now - restored < tonumber(ARGV[6]) then return {'RESTORING'} end
local epoch = string.format('%.0f', cjson.decode(meta).createdAt)
local current = redis.call('HGET', KEYS[2], ARGV[1])
local version = current and string.match(current, '^%S*') or epoch .. '.0'
if version ~= ARGV[2] then return {'OTHER', version, current and string.sub(current, #version + 2)} end
if changes then
  version = string.format('%s.%.0f', epoch, math.max(tonumber(string.match(version, '%d+$')) + 1, now * 1000))
  redis.call('HSET', KEYS[2], ARGV[1], version .. ' ' .. ARGV[3])
  publish(ARGV[4], ARGV[5] .. '\\n' .. version)
end
return {'DONE', version}
`

/**
 * KEYS room logs log — ARGV name entry keep now channel payload
 *
 * @returns the number of receivers
 */
export const appendLog = `${publish}
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'activity', ARGV[4])
  redis.call('SADD', KEYS[2], ARGV[1])
  redis.call('RPUSH', KEYS[3], ARGV[2])
  redis.call('LTRIM', KEYS[3], -ARGV[3], -1)
end
return publish(ARGV[5], ARGV[6])
`
