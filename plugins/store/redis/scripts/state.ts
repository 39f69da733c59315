import { afterLoss, publish } from './shared.ts'

/**
 * KEYS room docs — ARGV name expected version state channel payload recovery
 *
 * Replaces a document that has the expected version, and publishes.
 *
 * @returns false without the room; DONE; RESTORING while servers write back a lost room (nothing is
 *   changed); or OTHER, createdAt of the room, the current document, and the lowest number
 *   of a new version in a room that was lost
 */
export const swapDocument = `${publish}${afterLoss}
local known = redis.call('HMGET', KEYS[1], 'meta', 'restored')
local meta, restored = known[1], tonumber(known[2])
if not meta then return false end
local changes = ARGV[3] ~= ''
if changes and restored then
  local passed = clock() - restored
  -- If the clock was set back, nobody waits.
  if passed >= 0 and passed < tonumber(ARGV[7]) then return {'RESTORING'} end
end
local current = redis.call('HGET', KEYS[2], ARGV[1]) or ''
local createdAt = string.format('%.0f', cjson.decode(meta).createdAt)
local epoch = createdAt .. '.'
local least = restored and leastAfter(restored) or 0
local stale = changes and (string.sub(ARGV[3], 1, #epoch) ~= epoch or tonumber(string.sub(ARGV[3], #epoch + 1)) < least)
if stale or string.match(current, '^%S*') ~= ARGV[2] then
  return {'OTHER', createdAt, current, string.format('%.0f', least)}
end
if changes then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. ' ' .. ARGV[4])
  publish(ARGV[5], ARGV[6])
end
return {'DONE'}
`

/**
 * KEYS room log — ARGV entry keep now channel payload
 *
 * @returns the number of receivers
 */
export const appendLog = `${publish}
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'activity', ARGV[3])
  redis.call('RPUSH', KEYS[2], ARGV[1])
  redis.call('LTRIM', KEYS[2], -ARGV[2], -1)
end
return publish(ARGV[4], ARGV[5])
`
