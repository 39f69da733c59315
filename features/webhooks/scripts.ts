// The Lua scripts of the Redis storage. Redis runs each script atomically. All keys begin with the prefix
// `msab:{webhooks}`, which each script receives as its first key. Because of the hash tag in the prefix, one node of a
// Redis Cluster holds all keys. The scripts use Redis's clock, except in tests that pass a time.
//
//   …:rooms               sorted set of the open rooms, all with score 0
//   …:room:<roomId>       hash: field → JSON; the field `version` has the room's version
//   …:targets             hash: target → shown URL
//   …:dead                hash: id → JSON of a dead letter; …:dead:ids  sorted set of the ids, all with score 0
// and for each target:
//   …:q:<target>:due      sorted set: room → due time or end of the lease (ms)
//   …:q:<target>:ages     sorted set: room → when its first event was added (ms)
//   …:q:<target>:tries    hash: room → failed attempts of its first event
//   …:q:<target>:leases   hash: room → token
//   …:q:<target>:pending  number of events
//   …:q:<target>:error    JSON of the last error
//   …:q:<target>:lane:<roomId>  list of events: "<id>\n<queuedAt>\n<body>"

const common = `
local P = KEYS[1]
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local function q(target, name) return P .. ':q:' .. target .. ':' .. name end
local function lane(target, room) return q(target, 'lane:' .. room) end
local function split(item)
  local a = string.find(item, '\\n', 1, true)
  local b = string.find(item, '\\n', a + 1, true)
  return string.sub(item, 1, a - 1), string.sub(item, a + 1, b - 1), string.sub(item, b + 1)
end
local function append(target, room, item, queuedAt, now)
  if redis.call('RPUSH', lane(target, room), item) == 1 then
    redis.call('ZADD', q(target, 'due'), now, room)
    redis.call('ZADD', q(target, 'ages'), queuedAt, room)
  end
  redis.call('INCR', q(target, 'pending'))
end
local function removeHead(target, room, now)
  redis.call('LPOP', lane(target, room))
  redis.call('DECR', q(target, 'pending'))
  redis.call('HDEL', q(target, 'leases'), room)
  redis.call('HDEL', q(target, 'tries'), room)
  local head = redis.call('LINDEX', lane(target, room), 0)
  if head then
    local _, queuedAt = split(head)
    redis.call('ZADD', q(target, 'due'), now, room)
    redis.call('ZADD', q(target, 'ages'), queuedAt, room)
  else
    redis.call('ZREM', q(target, 'due'), room)
    redis.call('ZREM', q(target, 'ages'), room)
  end
end
-- Moves the first event of a room to the dead letters. Returns the number of deleted dead letters.
local function bury(target, room, reason, failed, now, limit)
  local head = redis.call('LINDEX', lane(target, room), 0)
  if not head then return 0 end
  local id, _, body = split(head)
  local tries = tonumber(redis.call('HGET', q(target, 'tries'), room) or 0) + failed
  local dead = id .. '.' .. target
  redis.call('HSET', P .. ':dead', dead, cjson.encode({queue = target, roomId = room, body = body, tries = tries, reason = reason, deadAt = now}))
  redis.call('ZADD', P .. ':dead:ids', 0, dead)
  removeHead(target, room, now)
  local over = redis.call('ZCARD', P .. ':dead:ids') - limit
  if over <= 0 then return 0 end
  local oldest = redis.call('ZPOPMIN', P .. ':dead:ids', over)
  for i = 1, #oldest, 2 do redis.call('HDEL', P .. ':dead', oldest[i]) end
  return over
end
local function state(target)
  local oldest = redis.call('ZRANGE', q(target, 'ages'), 0, 0, 'WITHSCORES')
  return {tonumber(redis.call('GET', q(target, 'pending')) or 0), oldest[2] or '', redis.call('ZCARD', P .. ':dead:ids')}
end
`

/**
 * KEYS prefix — ARGV now room version ttl queueLimit deadLetterLimit, then counted lists: set (name, value), removed
 * (name), targets (id), events (id, queuedAt, body).
 *
 * Returns {moved, deleted}, or nil if the room has a different version.
 */
export const commitRoom = `${common}
local now, room = clock(ARGV[1]), ARGV[2]
local key = P .. ':room:' .. room
if (redis.call('HGET', key, 'version') or '0') ~= ARGV[3] then return nil end
local queueLimit, deadLimit = tonumber(ARGV[5]), tonumber(ARGV[6])
local at = 7
local function list(size)
  local items = {}
  for i = 1, tonumber(ARGV[at]) do
    local item = {}
    for j = 1, size do item[j] = ARGV[at + (i - 1) * size + j] end
    items[i] = item
  end
  at = at + 1 + tonumber(ARGV[at]) * size
  return items
end
local set, removed, targets, events = list(2), list(1), list(1), list(3)
for _, item in ipairs(removed) do redis.call('HDEL', key, item[1]) end
for _, item in ipairs(set) do redis.call('HSET', key, item[1], item[2]) end
redis.call('HSET', key, 'version', string.format('%d', tonumber(ARGV[3]) + 1))
if ARGV[4] == '' then
  redis.call('PERSIST', key)
  redis.call('ZADD', P .. ':rooms', 0, room)
else
  redis.call('PEXPIRE', key, ARGV[4])
  redis.call('ZREM', P .. ':rooms', room)
end
local moved, deleted = 0, 0
for _, target in ipairs(targets) do
  local id = target[1]
  for _, event in ipairs(events) do append(id, room, event[1] .. '\\n' .. event[2] .. '\\n' .. event[3], event[2], now) end
  while #events > 0 and tonumber(redis.call('GET', q(id, 'pending')) or 0) > queueLimit do
    local oldest = redis.call('ZRANGE', q(id, 'ages'), 0, 31)
    if #oldest == 0 then break end
    local victim = oldest[1]
    for i = #oldest, 1, -1 do
      if redis.call('HEXISTS', q(id, 'leases'), oldest[i]) == 0 then victim = oldest[i] end
    end
    deleted = deleted + bury(id, victim, 'The queue was full', 0, now, deadLimit)
    moved = moved + 1
  end
end
return {moved, deleted}
`

/** KEYS prefix — ARGV now target limit lease token. Returns {{pending, oldest, dead letters}, room, tries, item, …}. */
export const take = `${common}
local now, target = clock(ARGV[1]), ARGV[2]
local found = {}
for _, room in ipairs(redis.call('ZRANGEBYSCORE', q(target, 'due'), '-inf', now, 'LIMIT', 0, ARGV[3])) do
  local head = redis.call('LINDEX', lane(target, room), 0)
  if head then
    redis.call('ZADD', q(target, 'due'), now + tonumber(ARGV[4]), room)
    redis.call('HSET', q(target, 'leases'), room, ARGV[5])
    found[#found + 1] = room
    found[#found + 1] = redis.call('HGET', q(target, 'tries'), room) or '0'
    found[#found + 1] = head
  else
    redis.call('ZREM', q(target, 'due'), room)
    redis.call('ZREM', q(target, 'ages'), room)
  end
end
return {state(target), unpack(found)}
`

/**
 * KEYS prefix — ARGV now target room token deadLetterLimit outcome delay reason. Returns the number of deleted dead
 * letters; nil if the lease is lost.
 */
export const settle = `${common}
local now, target, room = clock(ARGV[1]), ARGV[2], ARGV[3]
if redis.call('HGET', q(target, 'leases'), room) ~= ARGV[4] then return nil end
local reason = ARGV[8]
if reason ~= '' then redis.call('SET', q(target, 'error'), cjson.encode({at = now, reason = reason})) end
if ARGV[6] == 'dead' then return bury(target, room, reason, 1, now, tonumber(ARGV[5])) end
if ARGV[6] == 'sent' then
  removeHead(target, room, now)
else
  redis.call('ZADD', q(target, 'due'), now + tonumber(ARGV[7]), room)
  redis.call('HDEL', q(target, 'leases'), room)
  if reason ~= '' then redis.call('HINCRBY', q(target, 'tries'), room, 1) end
end
return 0
`

/** KEYS prefix. Returns five values per queue: target, URL, pending, oldest, error. */
export const queues = `${common}
local targets = redis.call('HGETALL', P .. ':targets')
local found = {}
for i = 1, #targets, 2 do
  local s = state(targets[i])
  found[#found + 1] = targets[i]
  found[#found + 1] = targets[i + 1]
  found[#found + 1] = s[1]
  found[#found + 1] = s[2]
  found[#found + 1] = redis.call('GET', q(targets[i], 'error')) or ''
end
return found
`

/** KEYS prefix — ARGV target. Returns the number of deleted events. */
export const deleteQueue = `${common}
local target = ARGV[1]
local pending = tonumber(redis.call('GET', q(target, 'pending')) or 0)
for _, room in ipairs(redis.call('ZRANGE', q(target, 'due'), 0, -1)) do redis.call('DEL', lane(target, room)) end
redis.call('DEL', q(target, 'due'), q(target, 'ages'), q(target, 'tries'), q(target, 'leases'), q(target, 'pending'), q(target, 'error'))
redis.call('HDEL', P .. ':targets', target)
return pending
`

/** KEYS prefix — ARGV after limit. Returns two values per dead letter: its id and its JSON. */
export const listDead = `${common}
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYLEX', P .. ':dead:ids', ARGV[1] == '' and '-' or '(' .. ARGV[1], '+', 'LIMIT', 0, ARGV[2])) do
  local letter = redis.call('HGET', P .. ':dead', id)
  if letter then
    found[#found + 1] = id
    found[#found + 1] = letter
  end
end
return found
`

/**
 * KEYS prefix — ARGV now retry id…. Removes dead letters or, if retry is 1, moves the dead letters back to their
 * queues. Returns the number of removed dead letters.
 */
export const removeDead = `${common}
local now, count = clock(ARGV[1]), 0
for i = 3, #ARGV do
  local text = redis.call('HGET', P .. ':dead', ARGV[i])
  if text then
    if ARGV[2] == '1' then
      local letter = cjson.decode(text)
      local id = string.sub(ARGV[i], 1, string.find(ARGV[i], '.', 1, true) - 1)
      redis.call('HSETNX', P .. ':targets', letter.queue, letter.queue)
      append(letter.queue, letter.roomId, id .. '\\n' .. string.format('%d', now) .. '\\n' .. letter.body, now, now)
    end
    redis.call('HDEL', P .. ':dead', ARGV[i])
    redis.call('ZREM', P .. ':dead:ids', ARGV[i])
    count = count + 1
  end
end
return count
`

/** KEYS prefix — ARGV after limit. Returns two values per open room: its id and the JSON of its field `room`. */
export const listRooms = `${common}
local found = {}
for _, room in ipairs(redis.call('ZRANGEBYLEX', P .. ':rooms', ARGV[1] == '' and '-' or '(' .. ARGV[1], '+', 'LIMIT', 0, ARGV[2])) do
  found[#found + 1] = room
  found[#found + 1] = redis.call('HGET', P .. ':room:' .. room, 'room') or '{}'
end
return found
`
