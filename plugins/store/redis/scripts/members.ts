import { accessOf, arrive, clock, intact, letReturn, listed, mayReturn, pinCounters } from './shared.ts'

/**
 * KEYS room users profiles refs sessions docs logs ban pin back pinsOfAddress pinsOfRoom
 * ARGV field user profile limit pinHash create now tries window comparedHash isHost hasAddress triesOfAddress
 *   triesOfRoom
 */
export const join = `${arrive}${accessOf}${mayReturn}${intact}${listed}${pinCounters}
local ban = redis.call('GET', KEYS[8])
if ban then return {'BANNED', string.match(ban, '^%d+')} end
local meta = redis.call('HGET', KEYS[1], 'meta')
local created = 0
if meta then
  -- A kicked user is still listed if the user's server died before it removed the user.
  local member = redis.call('ZSCORE', KEYS[2], ARGV[2]) and redis.call('EXISTS', KEYS[1] .. ':out:' .. ARGV[2]) == 0
  local pin = not (member and ARGV[5] == '') and redis.call('HGET', KEYS[1], 'pin')
  local access = accessOf(KEYS[6])
  if access then
    pin = access.admits == 'pin' and access.pinHash
    if ARGV[11] == '1' or member or mayReturn(KEYS[10], meta) then pin = nil
    elseif access.admits == 'nobody' then return {'ROOM_LOCKED'} end
  elseif ARGV[11] == '1' then
    pin = nil
  end
  if pin then
    local byHost, counters = access and 1 or 0, {}
    if not member then table.insert(counters, {'user', KEYS[9], ARGV[8]}) end
    if not member and ARGV[5] ~= '' then
      if ARGV[12] == '1' then table.insert(counters, {'address', KEYS[11], ARGV[13]}) end
      table.insert(counters, {'room', KEYS[12], ARGV[14]})
    end
    local limited, left = pinLimit(counters)
    if limited then return {'RATE_LIMITED', limited, left, byHost} end
    if ARGV[5] == '' then return {'PIN_REQUIRED', byHost} end
    if ARGV[5] ~= pin then
      if ARGV[10] ~= '' and ARGV[10] ~= pin then return {'PIN_NOT_COMPARED', pin} end
      countWrongPin(counters, ARGV[9])
      return {'PIN_WRONG', byHost}
    end
  end
elseif ARGV[6] == '' then
  return {'ROOM_NOT_FOUND'}
end
if meta and not intact(KEYS[2], KEYS[3], KEYS[4], KEYS[5]) then return {'DAMAGED'} end
if not redis.call('ZSCORE', KEYS[2], ARGV[2]) and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  return {'ROOM_FULL'}
end
if not meta then
  meta = ARGV[6]
  created = 1
  redis.call('HSET', KEYS[1], 'meta', meta)
  if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'pin', ARGV[5]) end
end
local first = 0
if redis.call('HSET', KEYS[5], ARGV[1], ARGV[2]) == 1 then
  if redis.call('HINCRBY', KEYS[4], ARGV[2], 1) == 1 then
    first = 1
    arrive(KEYS[2], ARGV[2], ARGV[7])
  end
end
if first == 0 and redis.call('HGET', KEYS[3], ARGV[2]) ~= ARGV[3] then discardList(KEYS[1]) end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], 'activity', ARGV[7])
redis.call('DEL', KEYS[10], KEYS[1] .. ':out:' .. ARGV[2])
return {'OK', meta, created, first, redis.call('ZCARD', KEYS[2]), readList(KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[3], first == 1), redis.call('HGETALL', KEYS[6]), redis.call('HGET', KEYS[1], 'pin')}
`

/**
 * KEYS pinsOfRoom pinsOfAddress — ARGV isRight window triesOfRoom hasAddress triesOfAddress
 *
 * @returns OK or WRONG; or, if a counter has reached its maximum, the counter's name and its remaining time in
 *   milliseconds
 */
export const countPin = `${pinCounters}
local counters = {{'room', KEYS[1], ARGV[3]}}
if ARGV[4] == '1' then table.insert(counters, {'address', KEYS[2], ARGV[5]}) end
local limited, left = pinLimit(counters)
if limited then return {limited, left} end
if ARGV[1] == '1' then return {'OK'} end
countWrongPin(counters, ARGV[2])
return {'WRONG'}
`

/** KEYS room users profiles refs sessions docs logs — ARGV field now mayReturn */
export const leave = `${accessOf}${letReturn}
local user = redis.call('HGET', KEYS[5], ARGV[1])
if not user then return false end
redis.call('HDEL', KEYS[5], ARGV[1])
local last = 0
if redis.call('HINCRBY', KEYS[4], user, -1) <= 0 then
  last = 1
  redis.call('HDEL', KEYS[4], user)
  redis.call('ZREM', KEYS[2], user)
  redis.call('HDEL', KEYS[3], user)
  if ARGV[3] == '1' then letReturn(KEYS[1], KEYS[6], user) end
end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'activity', ARGV[2]) end
return {last, math.max(redis.call('ZCARD', KEYS[2]), redis.call('HLEN', KEYS[4]))}
`

/**
 * KEYS users profiles — ARGV after limit
 *
 * @returns up to `limit` places greater than `after`, the profiles of the users in these places, and the total number
 *   of users
 */
export const participants = `
local users = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local count = redis.call('ZCARD', KEYS[1])
if #users == 0 then return {{}, {}, count} end
local places, keys = {}, {}
for i = 1, #users, 2 do
  table.insert(keys, users[i])
  table.insert(places, users[i + 1])
end
return {places, redis.call('HMGET', KEYS[2], unpack(keys)), count}
`

/**
 * KEYS users profiles — ARGV limit user…
 *
 * @returns the profiles of the given users who are in the room, then the profiles of other users in order of arrival
 */
export const someMembers = `
local limit = tonumber(ARGV[1])
local found, has = {}, {}
local function add (user, profile)
  if #found == limit or has[user] or not profile then return end
  has[user] = true
  table.insert(found, profile)
end
if #ARGV > 1 then
  local named = {unpack(ARGV, 2)}
  for i, profile in ipairs(redis.call('HMGET', KEYS[2], unpack(named))) do add(named[i], profile) end
end
if #found < limit then
  local users = redis.call('ZRANGE', KEYS[1], 0, limit - 1)
  if #users > 0 then
    for i, profile in ipairs(redis.call('HMGET', KEYS[2], unpack(users))) do add(users[i], profile) end
  end
end
return found
`

/**
 * KEYS ban bans — ARGV user until value limit
 *
 * @returns 0 if the room already has `limit` bans of other users; otherwise 1
 */
export const ban = `${clock}
local now = clock()
if tonumber(ARGV[2]) <= now then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
if ARGV[4] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 and redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  -- The set may contain bans that have ended.
  local prefix = string.sub(KEYS[1], 1, -#ARGV[1] - 1)
  for _, user in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if redis.call('EXISTS', prefix .. user) == 0 then redis.call('ZREM', KEYS[2], user) end
  end
  if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if now + redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then redis.call('PEXPIREAT', KEYS[2], ARGV[2]) end
return 1
`

/**
 * KEYS ban bans — ARGV user
 *
 * @returns 1 if the user was banned
 */
export const unban = `
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('DEL', KEYS[1])
`

/**
 * KEYS bans — ARGV after limit
 *
 * Also removes ended bans from the set.
 *
 * @returns users and the values of their bans, alternating
 */
export const listBans = `
local found, after, limit = {}, ARGV[1], tonumber(ARGV[2])
-- The key of the set ends with :bans, and the key of a ban with :ban:<user>.
local prefix = string.sub(KEYS[1], 1, -2) .. ':'
while #found < limit * 2 do
  local users = redis.call('ZRANGEBYLEX', KEYS[1], after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit)
  for _, user in ipairs(users) do
    after = user
    local value = redis.call('GET', prefix .. user)
    if not value then
      redis.call('ZREM', KEYS[1], user)
    elseif #found < limit * 2 then
      table.insert(found, user)
      table.insert(found, value)
    end
  end
  if #users < limit then break end
end
return found
`
