import { maxSpacingMs } from '../../store.ts'
import { clock, fieldsOf, publish } from './shared.ts'

/**
 * KEYS room docs — ARGV name expected state channel payload recovery
 *
 * Replaces a document's state if the document has the expected version, and publishes the payload. The new version is
 * appended to the payload, as the last line. The version's number is never lower than the current time in microseconds,
 * so that after a data loss, new numbers are still higher than all earlier ones.
 *
 * @returns false if there is no room; RESTORING, without a change, if servers are restoring a lost room; DONE and the
 *   version; or OTHER, the current version and, if the document exists, its state
 */
export const swapDocument = `${publish}${clock}
local known = redis.call('HMGET', KEYS[1], 'meta', 'restored')
local meta, restored = known[1], tonumber(known[2])
if not meta then return false end
local changes, now = ARGV[3] ~= '', clock()
-- If the clock was set back, the end of the restore is unknown, so changes are allowed.
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
 * KEYS room logs log docs last — ARGV name entry keep now channel payload document field
 *
 * @returns the number of receivers; and, if the previous entry is too recent, how long to wait, in milliseconds
 */
export const appendLog = `${clock}${fieldsOf}${publish}
local spacing = ARGV[7] ~= '' and fieldsOf(KEYS[4], ARGV[7])
local ms = spacing and tonumber(spacing[ARGV[8]]) or 0
if ms > 0 then
  local now, last = clock(), redis.call('GET', KEYS[5])
  if last and last + ms > now then return {0, last + ms - now} end
  redis.call('SET', KEYS[5], string.format('%.0f', now), 'PX', ${maxSpacingMs})
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'activity', ARGV[4])
  redis.call('SADD', KEYS[2], ARGV[1])
  redis.call('RPUSH', KEYS[3], ARGV[2])
  redis.call('LTRIM', KEYS[3], -ARGV[3], -1)
end
return {publish(ARGV[5], ARGV[6]), 0}
`

/**
 * KEYS log — ARGV entry channel payload
 *
 * @returns -1 if the log does not have the entry; otherwise the number of receivers
 */
export const removeFromLog = `${publish}
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return -1 end
return publish(ARGV[2], ARGV[3])
`
