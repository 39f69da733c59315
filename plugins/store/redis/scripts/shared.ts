import { accessDocument, maxListedParticipants } from '../../types.ts'

// Redis runs a Lua script atomically. In a script with several keys, all keys contain the room id as a hash tag, except
// the list of empty rooms and the key that counts wrong PINs per address (layout.ts).

/** Adds a user as the last to arrive. Places are unique, even if the servers' clocks differ. */
export const arrive = `
local function arrive (key, user, now)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', key, string.format('%.0f', math.max(tonumber(now), last and tonumber(last) + 1 or 0)), user)
end
`

/**
 * Maintains the key `listed`: the profiles of the first users to arrive, which every join reply lists. The list is kept
 * until one of these users leaves or has a new profile, because servers read and parse one value faster than up to
 * 100 separate profiles.
 */
export const listed = `
local function placeInList (users, user)
  local place = redis.call('ZRANK', users, user)
  return place and place < ${maxListedParticipants} and place
end
local function addToList (room, place, profile)
  if place == 0 then redis.call('SET', room .. ':listed', profile)
  elseif redis.call('EXISTS', room .. ':listed') == 1 then redis.call('APPEND', room .. ':listed', ',' .. profile) end
end
local function discardList (room)
  redis.call('DEL', room .. ':listed')
end
local function readList (room, users, profiles)
  local list = redis.call('GET', room .. ':listed')
  if list then return list end
  local found = {}
  for _, profile in ipairs(redis.call('HMGET', profiles, unpack(redis.call('ZRANGE', users, 0, ${maxListedParticipants - 1})))) do
    if profile then table.insert(found, profile) end
  end
  list = table.concat(found, ',')
  redis.call('SET', room .. ':listed', list)
  return list
end
`

/**
 * Whether the keys that hold a room's members are consistent: each user has a place, a profile and a number of
 * sessions. The keys are always consistent unless Redis has lost one of them.
 */
export const intact = `
local function intact (users, profiles, refs, sessions)
  local count = redis.call('ZCARD', users)
  return count == redis.call('HLEN', profiles) and count == redis.call('HLEN', refs) and
    count <= redis.call('HLEN', sessions) and (count > 0 or redis.call('EXISTS', sessions) == 0)
end
`

/** Returns the fields of a room's document as a table; nil if there is no document. */
export const fieldsOf = `
local function fieldsOf (docs, name)
  local text = redis.call('HGET', docs, name)
  return text and cjson.decode(string.sub(text, string.find(text, ' ', 1, true) + 1))
end
`

/** Returns which users a room admits; nil if no host has locked or unlocked it. */
export const accessOf = `${fieldsOf}
local function accessOf (docs)
  local access = fieldsOf(docs, '${accessDocument}')
  return access and access.admits and access or nil
end
`

/** Returns the Redis server's time, in milliseconds. */
export const clock = `
local function clock ()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
`

/** Publishes a payload if there is a channel, and returns the number of receivers. */
export const publish = `
local function publish (channel, payload)
  if channel == '' then return 0 end
  return redis.call('PUBLISH', channel, payload)
end
`

/**
 * Limits wrong PINs. `counters` is a list of {name, key, maximum}. If a counter has reached its maximum, `pinLimit`
 * returns the counter's name and its remaining time in milliseconds.
 */
export const pinCounters = `
local function pinLimit (counters)
  for _, counter in ipairs(counters) do
    if tonumber(redis.call('GET', counter[2]) or '0') >= tonumber(counter[3]) then return counter[1], redis.call('PTTL', counter[2]) end
  end
end
local function countWrongPin (counters, window)
  for _, counter in ipairs(counters) do
    if redis.call('INCR', counter[2]) == 1 then redis.call('PEXPIRE', counter[2], window) end
  end
end
`
