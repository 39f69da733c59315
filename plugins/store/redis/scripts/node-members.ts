import { accessOf, arrive, clock, intact, letReturn, listed, publish } from './shared.ts'

/**
 * KEYS room users profiles refs sessions — ARGV field
 *
 * Checks for one session in particular, because a room that has lost all of its members is consistent.
 */
export const isIntact = `${intact}
if redis.call('HEXISTS', KEYS[1], 'meta') == 0 or redis.call('HEXISTS', KEYS[5], ARGV[1]) == 0 then return 0 end
return intact(KEYS[2], KEYS[3], KEYS[4], KEYS[5]) and 1 or 0
`

/**
 * KEYS room users profiles refs sessions docs logs closed — ARGV node meta pin now members (JSON: [[field, user,
 * profile]…]) channel payload (name version state)…
 *
 * Replaces a server's members in the room: removes members that are not in `members`, and adds members that are missing
 * in Redis. Restores documents that are missing or older in Redis, if they belong to this room and not to an earlier
 * room with the same id. If Redis has lost the room or some of its documents, stores the time of this restore and
 * publishes the payload.
 *
 * If Redis has lost one of the keys that hold the room's members, rebuilds these keys from the sessions and publishes
 * the payload, so that the other servers add their members again.
 *
 * @returns the profiles of users who joined, the profiles of users who left, the number of users, 1 if the room has
 *   been closed (then nothing is written), and all documents
 */
export const replaceNodeMembers = `${accessOf}${letReturn}${arrive}${clock}${intact}${listed}${publish}
local given, joined, left = {}, {}, {}
local closed = redis.call('GET', KEYS[8])
if closed and ARGV[2] ~= '' and tonumber(closed) >= cjson.decode(ARGV[2]).createdAt then
  return {joined, left, redis.call('ZCARD', KEYS[2]), 1, {}}
end
discardList(KEYS[1])
local lost, restored = false, false
local members = cjson.decode(ARGV[5])
for _, member in ipairs(members) do given[member[1]] = member end
local sessions = redis.call('HGETALL', KEYS[5])
local damaged = not intact(KEYS[2], KEYS[3], KEYS[4], KEYS[5])
if damaged then
  redis.call('DEL', KEYS[4])
  for i = 2, #sessions, 2 do
    if redis.call('HINCRBY', KEYS[4], sessions[i], 1) == 1 and not redis.call('ZSCORE', KEYS[2], sessions[i]) then
      arrive(KEYS[2], sessions[i], ARGV[4])
    end
  end
  for _, user in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if redis.call('HEXISTS', KEYS[4], user) == 0 then redis.call('ZREM', KEYS[2], user) end
  end
  for _, user in ipairs(redis.call('HKEYS', KEYS[3])) do
    if redis.call('HEXISTS', KEYS[4], user) == 0 then redis.call('HDEL', KEYS[3], user) end
  end
end
local there = {}
for i = 1, #sessions, 2 do
  local field, user = sessions[i], sessions[i + 1]
  there[field] = true
  if string.sub(field, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' and not given[field] then
    redis.call('HDEL', KEYS[5], field)
    if redis.call('HINCRBY', KEYS[4], user, -1) <= 0 then
      table.insert(left, redis.call('HGET', KEYS[3], user))
      -- The user's server died, so the user may return to the locked room.
      letReturn(KEYS[1], KEYS[6], user)
      redis.call('HDEL', KEYS[4], user)
      redis.call('ZREM', KEYS[2], user)
      redis.call('HDEL', KEYS[3], user)
    end
  end
end
if next(given) then
  if ARGV[2] ~= '' and redis.call('HSETNX', KEYS[1], 'meta', ARGV[2]) == 1 then
    lost = true
    redis.call('HSET', KEYS[1], 'activity', ARGV[4])
    if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'pin', ARGV[3]) end
  end
  for _, member in ipairs(members) do
    local field = member[1]
    if damaged then redis.call('HSETNX', KEYS[3], member[2], member[3]) end
    if not there[field] then
      there[field] = true
      redis.call('HSET', KEYS[5], field, member[2])
      if redis.call('HINCRBY', KEYS[4], member[2], 1) == 1 then
        arrive(KEYS[2], member[2], ARGV[4])
        redis.call('HSET', KEYS[3], member[2], member[3])
        -- A user who joined before the loss has already been announced.
        if not damaged then table.insert(joined, member[3]) end
      end
    end
  end
else
  redis.call('HDEL', KEYS[1], 'producers:' .. ARGV[1])
end
local meta = redis.call('HGET', KEYS[1], 'meta')
local epoch = meta and string.format('%.0f', cjson.decode(meta).createdAt) .. '.'
local since = tonumber(redis.call('HGET', KEYS[1], 'restored') or 0)
for i = 8, #ARGV, 3 do
  local name, version, state = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local current = redis.call('HGET', KEYS[6], name)
  local there = current and tonumber(string.match(current, '%.(%d+) ')) or 0
  local number = tonumber(string.sub(version, #(epoch or '') + 1))
  if epoch and string.sub(version, 1, #epoch) == epoch and number > there then
    redis.call('HSET', KEYS[6], name, version .. ' ' .. state)
    restored = true
    -- A version from before the last loss does not show a new loss. A later version shows that Redis has lost the
    -- document since then.
    if number >= since * 1000 then lost = true end
  end
end
if lost then redis.call('HSET', KEYS[1], 'restored', string.format('%.0f', clock())) end
if lost or restored or damaged then publish(ARGV[6], ARGV[7]) end
return {joined, left, redis.call('ZCARD', KEYS[2]), 0, redis.call('HGETALL', KEYS[6])}
`
