// The Lua scripts of the Redis store. Redis runs each of them as one step.
// All keys of a script carry the room id as hash tag, so that they live on one
// node of a Redis Cluster.
//
// A room is
//   …           hash: meta (JSON of the record), pin (hash), activity (ms), producers:<node>,
//               restored (ms by Redis' clock: when it was written back, after it had been lost)
//   …:users     sorted set: user → place in the order of arrival (ms, moved on where two came in one)
//   …:profiles  hash: user → profile JSON
//   …:refs      hash: user → number of sockets
//   …:sessions  hash: "<node> <session>" → user
//   …:docs      hash: name of a document → "<version> <JSON>"
//   …:log       list: what those who come later are told
//   …:closed    when the newest room of that name that was closed had been made (ms), for ten minutes
//   …:ban:<u>   end of a ban (ms), expires with it
//   …:pin:<u>   wrong pins of the last minute

/** Gives a user the place behind all others: no two have the same, also where the clocks of servers differ. */
const arrive = `
local function arrive (key, user, now)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', key, string.format('%.0f', math.max(tonumber(now), last and tonumber(last) + 1 or 0)), user)
end
`

// All versions of documents that are made after a loss have numbers far above those
// from before, whoever knows them. More than a thousand changes in a millisecond there are not.
const afterLoss = `
local function leastAfter (restored)
  return restored * 1000
end
local function clock ()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
`

/** KEYS room users profiles refs sessions docs log ban pin — ARGV field user profile limit pinHash create now told tries window */
export const join = `${arrive}
local until_ = redis.call('GET', KEYS[8])
if until_ then return {'BANNED', until_} end
local meta = redis.call('HGET', KEYS[1], 'meta')
local created = 0
if meta then
  local pin = redis.call('HGET', KEYS[1], 'pin')
  if pin then
    local tries = tonumber(redis.call('GET', KEYS[9]) or '0')
    if tries >= tonumber(ARGV[9]) then return {'RATE_LIMITED', redis.call('PTTL', KEYS[9])} end
    if ARGV[5] == '' then return {'PIN_REQUIRED'} end
    if ARGV[5] ~= pin then
      if redis.call('INCR', KEYS[9]) == 1 then redis.call('PEXPIRE', KEYS[9], ARGV[10]) end
      return {'PIN_WRONG'}
    end
  end
elseif ARGV[6] == '' then
  return {'ROOM_NOT_FOUND'}
end
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
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[1], 'activity', ARGV[7])
local users = redis.call('ZRANGE', KEYS[2], 0, tonumber(ARGV[8]) - 1)
return {'OK', meta, created, first, redis.call('ZCARD', KEYS[2]), redis.call('HMGET', KEYS[3], unpack(users)), redis.call('HGETALL', KEYS[6])}
`

/** KEYS room users profiles refs sessions docs log — ARGV field now */
export const leave = `
local user = redis.call('HGET', KEYS[5], ARGV[1])
if not user then return false end
redis.call('HDEL', KEYS[5], ARGV[1])
local last = 0
if redis.call('HINCRBY', KEYS[4], user, -1) <= 0 then
  last = 1
  redis.call('HDEL', KEYS[4], user)
  redis.call('ZREM', KEYS[2], user)
  redis.call('HDEL', KEYS[3], user)
end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'activity', ARGV[2]) end
return {last, redis.call('ZCARD', KEYS[2])}
`

/**
 * KEYS room users profiles refs sessions docs log closed — ARGV onlyIfEmpty memory channel message
 *
 * The message gets a last line that says which room of that name it was.
 */
export const removeRoom = `
local meta = redis.call('HGET', KEYS[1], 'meta')
if not meta then return false end
if ARGV[1] == '1' and redis.call('ZCARD', KEYS[2]) > 0 then return false end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7])
local createdAt = string.format('%.0f', cjson.decode(meta).createdAt)
redis.call('SET', KEYS[8], createdAt, 'PX', ARGV[2])
if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4] .. '\\n' .. createdAt) end
return meta
`

/**
 * KEYS users profiles — ARGV after limit
 *
 * Returns the places of those behind that one, their profiles, and the number of users.
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
 * Returns the profiles of those who are in the room, and then of others in order of arrival.
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

/** KEYS empty-rooms — ARGV room before */
export const forgetEmpty = `
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

/**
 * KEYS room users profiles refs sessions docs log closed
 * ARGV node meta pin now members(JSON [[field, user, profile]…]) channel text (name version state)…
 *
 * Makes a server's share of the room what is given: members it does not have
 * any more are removed, those that are missing are added. Puts back documents that are
 * missing or older, if they are of this room and not of an earlier one of the same name.
 * When the room or some of its documents had been lost, that is published, and the time is noted.
 * Returns the profiles of the users who thereby came and went, the number of users, 1 when the room
 * was closed meanwhile (then nothing is written back), and all documents.
 */
export const replaceShare = `${arrive}${afterLoss}
local given, joined, left = {}, {}, {}
local closed = redis.call('GET', KEYS[8])
if closed and ARGV[2] ~= '' and tonumber(closed) >= cjson.decode(ARGV[2]).createdAt then
  return {joined, left, redis.call('ZCARD', KEYS[2]), 1, {}}
end
local lost, restored = false, false
local members = cjson.decode(ARGV[5])
for _, member in ipairs(members) do given[member[1]] = member end
local sessions = redis.call('HGETALL', KEYS[5])
local there = {}
for i = 1, #sessions, 2 do
  local field, user = sessions[i], sessions[i + 1]
  there[field] = true
  if string.sub(field, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' and not given[field] then
    redis.call('HDEL', KEYS[5], field)
    if redis.call('HINCRBY', KEYS[4], user, -1) <= 0 then
      table.insert(left, redis.call('HGET', KEYS[3], user))
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
    if not there[field] then
      there[field] = true
      redis.call('HSET', KEYS[5], field, member[2])
      if redis.call('HINCRBY', KEYS[4], member[2], 1) == 1 then
        arrive(KEYS[2], member[2], ARGV[4])
        redis.call('HSET', KEYS[3], member[2], member[3])
        table.insert(joined, member[3])
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
    -- One from before the last loss comes late; one that was made since has been lost since.
    if number >= leastAfter(since) then lost = true end
  end
end
if lost then redis.call('HSET', KEYS[1], 'restored', string.format('%.0f', clock())) end
if (lost or restored) and ARGV[6] ~= '' then redis.call('PUBLISH', ARGV[6], ARGV[7]) end
return {joined, left, redis.call('ZCARD', KEYS[2]), 0, redis.call('HGETALL', KEYS[6])}
`

/**
 * KEYS room log — ARGV entry keep now channel text
 *
 * Returns how many heard what was published.
 */
export const appendLog = `
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'activity', ARGV[3])
  redis.call('RPUSH', KEYS[2], ARGV[1])
  redis.call('LTRIM', KEYS[2], -ARGV[2], -1)
end
if ARGV[4] == '' then return 0 end
return redis.call('PUBLISH', ARGV[4], ARGV[5])
`

/**
 * KEYS room docs — ARGV name expected version state channel text recovery
 *
 * Puts a document in the place of the expected version and publishes what is
 * said of it. Returns false without a room, else DONE; RESTORING so long after the room was lost,
 * when nothing is changed yet; or OTHER, when the room was made, the document there is, and
 * the least number of a version in a room that was lost.
 */
export const swapDocument = `${afterLoss}
local known = redis.call('HMGET', KEYS[1], 'meta', 'restored')
local meta, restored = known[1], tonumber(known[2])
if not meta then return false end
local changes = ARGV[3] ~= ''
if changes and restored then
  local passed = clock() - restored
  -- A clock that was set back makes nobody wait.
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
  if ARGV[5] ~= '' then redis.call('PUBLISH', ARGV[5], ARGV[6]) end
end
return {'DONE'}
`

/** KEYS notes — ARGV key text [expected] */
export const swapNote = `
if redis.call('HGET', KEYS[1], ARGV[1]) ~= (ARGV[3] or false) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
`

/**
 * KEYS due held — ARGV now limit until
 *
 * A job that is taken is held and not due; scheduled again, it is both, and waits.
 */
export const takeDueJobs = `
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])) do
  redis.call('ZREM', KEYS[2], key)
  redis.call('ZADD', KEYS[1], 'LT', ARGV[1], key)
end
local taken = {}
local waiting = redis.call('ZCARD', KEYS[2])
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, tonumber(ARGV[2]) + waiting)) do
  if #taken < tonumber(ARGV[2]) and not redis.call('ZSCORE', KEYS[2], key) then
    redis.call('ZREM', KEYS[1], key)
    redis.call('ZADD', KEYS[2], ARGV[3], key)
    table.insert(taken, key)
  end
end
return taken
`

/** KEYS due held — ARGV key token retryAt */
export const settleJob = `
local held = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not held or tonumber(held) ~= tonumber(ARGV[2]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
if ARGV[3] ~= '' then redis.call('ZADD', KEYS[1], 'LT', ARGV[3], ARGV[1]) end
return 1
`
