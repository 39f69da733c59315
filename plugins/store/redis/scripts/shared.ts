import { accessDocument, maxListedParticipants, returnMs } from '../../types.ts'

// Redis runs a Lua script atomically. In a script with several keys, all keys contain the room id as a hash tag, except
// the list of empty rooms and the key that counts wrong PINs per address (layout.ts).

/** Puts a user at the end of the order of arrival. Places are unique, even if the servers' clocks differ. */
export const arrive = `
local function arrive (key, user, now)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', key, string.format('%.0f', math.max(tonumber(now), last and tonumber(last) + 1 or 0)), user)
end
`

/**
 * Maintains the key `listed`: the profiles of the first users to arrive, which every join reply lists. The list is
 * stored as one value, because servers read and parse one value faster than up to 100 separate profiles.
 *
 * The value also contains the number of listed users and the place of the last listed user. If a listed user leaves, a
 * different user is at the position of the last listed user. From this difference, `readList` detects that the list is
 * outdated, even if a server of an earlier version removed the user. If the profile of a listed user changes, call
 * `discardList`.
 */
export const listed = `
local function discardList (room)
  redis.call('DEL', room .. ':listed')
end
local function keepList (room, count, place, profiles)
  local value = count .. ' ' .. place .. ' ' .. profiles
  redis.call('SET', room .. ':listed', value)
  return value
end
-- Returns nil if the list is missing or outdated. Adds the user if only they are missing.
local function keptList (room, users, user, profile, arrived)
  local value = redis.call('GET', room .. ':listed')
  local count, place, start = string.match(value or '', '^(%d+) (%d+) ()')
  if not count then return end
  local there = redis.call('ZRANGE', users, count - 1, count + 1, 'WITHSCORES')
  -- A user who has left and returned may have the same place as before, but a new profile.
  if there[2] ~= place or (arrived and there[1] == user) then return end
  if #there == 2 or tonumber(count) == ${maxListedParticipants} then return value end
  if #there == 4 and there[3] == user then
    return keepList(room, count + 1, there[4], string.sub(value, start) .. ',' .. profile)
  end
end
local function readList (room, users, profiles, user, profile, arrived)
  local kept = keptList(room, users, user, profile, arrived)
  if kept then return kept end
  local first = redis.call('ZRANGE', users, 0, ${maxListedParticipants - 1}, 'WITHSCORES')
  local names, found = {}, {}
  for i = 1, #first, 2 do table.insert(names, first[i]) end
  for _, one in ipairs(redis.call('HMGET', profiles, unpack(names))) do
    if one then table.insert(found, one) end
  end
  return keepList(room, #names, first[#first], table.concat(found, ','))
end
`

/**
 * Whether the keys that hold a room's members are consistent: they contain a place, a profile and a number of sessions
 * for each user. The keys are always consistent unless Redis has lost one of them.
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

/** Returns which users a room admits; nil if no host has locked or unlocked the room. */
export const accessOf = `${fieldsOf}
local function accessOf (docs)
  local access = fieldsOf(docs, '${accessDocument}')
  return access and access.admits and access or nil
end
`

/**
 * Lets a user whose connection broke return to a locked room for a limited time, unless the user was kicked. The user
 * cannot return to a later room with the same id.
 */
export const letReturn = `
local function letReturn (room, docs, user)
  local meta = redis.call('HGET', room, 'meta')
  if not meta or not accessOf(docs) or redis.call('EXISTS', room .. ':out:' .. user) == 1 then return end
  redis.call('SET', room .. ':back:' .. user, string.format('%.0f', cjson.decode(meta).createdAt), 'PX', ${returnMs})
end
`

/** Whether a user may return to a locked room. See {@link letReturn}. */
export const mayReturn = `
local function mayReturn (back, meta)
  local value = redis.call('GET', back)
  -- Servers of an earlier version store 1.
  return value == '1' or value == string.format('%.0f', cjson.decode(meta).createdAt)
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
