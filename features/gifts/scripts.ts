// The Lua scripts of the Redis outbox. Redis runs each script atomically. All keys share a hash tag, so that a Redis
// Cluster stores them on one node. The scripts use Redis's clock, because a server with a fast clock would end other
// servers' leases too early. Only tests pass a different time.
//
// The outbox consists of these keys:
//   …:due           sorted set: id → due time or end of the lease (ms)
//   …:items         hash: id → "<failed tries>\n<gift JSON>"
//   …:leases        hash: id → token of the lease
// and these keys for each kind of record (ledger, failed, dead):
//   …:<kind>        hash: id → "<details JSON>\n<gift JSON>"
//   …:<kind>:ids    sorted set of the ids, all with score 0, so sorted by id
// and this key for each room:
//   …:totals:<createdAt> <room>  sorted set: JSON of a recipient's id → quantity of gifts; expires
// and this key for each gift that its sender can repeat:
//   …:counted:<id>  exists if the gift has been added to the totals; expires when the sender can no longer repeat it

const clock = `
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
`

/**
 * KEYS due items ledger failed dead totals counted — ARGV now id gift recipient quantity totalsTtl repeatable
 *
 * If the gift is new, the script queues the gift. Unless the recipient is an empty string, the script also adds the
 * quantity to the room's totals. A gift that can be repeated for the next "repeatable" milliseconds is added to the
 * totals only once, even if the backend charges the gift and the sender then repeats it.
 *
 * If the gift is already stored, the script returns {index in KEYS of the hash that contains the gift, the gift's value
 * in that hash}. Otherwise, the script returns nil.
 */
export const add = `${clock}
for i = 2, 5 do
  local value = redis.call('HGET', KEYS[i], ARGV[2])
  if value then return {i, value} end
end
redis.call('HSET', KEYS[2], ARGV[2], '0\\n' .. ARGV[3])
redis.call('ZADD', KEYS[1], clock(ARGV[1]), ARGV[2])
if ARGV[4] ~= '' and (ARGV[7] == '0' or redis.call('SET', KEYS[7], '', 'NX', 'PX', ARGV[7])) then
  redis.call('ZINCRBY', KEYS[6], ARGV[5], ARGV[4])
  redis.call('PEXPIRE', KEYS[6], ARGV[6])
end
return nil
`

/**
 * KEYS due items leases dead:ids — ARGV now lease token max size0 size1 …
 *
 * Takes a batch of gifts that have the same number of failed tries. "size<n>" is the maximum batch size after n failed
 * tries, and "max" is the largest of these sizes.
 *
 * Returns {queued, dead letters, tries, more, {"<tries>\n<gift>"…}}.
 */
export const take = `${clock}
local now = clock(ARGV[1])
local max = tonumber(ARGV[4])
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, max)
local tries, size, taken = 0, nil, {}
if #ids > 0 then
  local values = redis.call('HMGET', KEYS[2], unpack(ids))
  for i, id in ipairs(ids) do
    local has = values[i] and tonumber(string.match(values[i], '^%d+'))
    if not has then
      -- The item was deleted manually.
      redis.call('ZREM', KEYS[1], id)
    elseif not size then
      tries = has
      size = tonumber(ARGV[5 + tries] or ARGV[#ARGV])
    end
    if has and has == tries and #taken < size then
      redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), id)
      redis.call('HSET', KEYS[3], id, ARGV[3])
      table.insert(taken, values[i])
    end
  end
end
local more = (#taken < #ids or #ids == max) and 1 or 0
return {redis.call('ZCARD', KEYS[1]), redis.call('ZCARD', KEYS[4]), tries, more, taken}
`

/**
 * KEYS due items leases ledger ledger:ids failed failed:ids dead dead:ids — ARGV now token keptLedger keptFailed
 * trimmed, then for each gift: id target a b
 *
 * The target is one of:
 * - "processed"
 * - "queue": a is the delay in ms; b is added to the number of failed attempts
 * - the index in KEYS of the hash that receives the record: a is the record's details; b is the name of the details
 *   field for the number of attempts, or an empty string
 *
 * The script adds the gift to its new place before it removes the gift from the old place. If Redis is out of memory
 * and rejects a write, the gift therefore stays in the old place.
 *
 * If the ledger has more than keptLedger records or there are more than keptFailed failed gifts, the script deletes the
 * records with the lowest ids, but at most "trimmed" records of each kind.
 */
export const settle = `${clock}
local now = clock(ARGV[1])
local settled = {}
for i = 6, #ARGV, 4 do
  local id, target, a, b = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if redis.call('HGET', KEYS[3], id) == ARGV[2] then
    table.insert(settled, id)
    local value = redis.call('HGET', KEYS[2], id)
    local split = string.find(value, '\\n', 1, true)
    local tries, gift = tonumber(string.sub(value, 1, split - 1)), string.sub(value, split + 1)
    if target == 'queue' then
      redis.call('ZADD', KEYS[1], now + tonumber(a), id)
      redis.call('HSET', KEYS[2], id, string.format('%d', tries + tonumber(b)) .. '\\n' .. gift)
    else
      if target ~= 'processed' then
        local kind = tonumber(target)
        if b ~= '' then a = '{"' .. b .. '":' .. string.format('%d', tries + 1) .. ',' .. string.sub(a, 2) end
        redis.call('HSETNX', KEYS[kind], id, a .. '\\n' .. gift)
        redis.call('ZADD', KEYS[kind + 1], 0, id)
      end
      redis.call('ZREM', KEYS[1], id)
      redis.call('HDEL', KEYS[2], id)
    end
    redis.call('HDEL', KEYS[3], id)
  end
end
for i = 1, 2 do
  local records, ids = KEYS[2 + 2 * i], KEYS[3 + 2 * i]
  local over = redis.call('ZCARD', ids) - tonumber(ARGV[2 + i])
  if over > 0 then
    local oldest = redis.call('ZPOPMIN', ids, math.min(over, tonumber(ARGV[5])))
    for j = 1, #oldest, 2 do redis.call('HDEL', records, oldest[j]) end
  end
end
return settled
`

/** KEYS records records:ids — ARGV after limit. Returns the values of one page of records. */
export const list = `
local ids = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1] == '' and '-' or '(' .. ARGV[1], '+', 'LIMIT', 0, ARGV[2])
if #ids == 0 then return {} end
return redis.call('HMGET', KEYS[1], unpack(ids))
`

/** KEYS due items dead dead:ids — ARGV now id… Returns the number of moved gifts. */
export const replay = `${clock}
local now = clock(ARGV[1])
local count = 0
for i = 2, #ARGV do
  local value = redis.call('HGET', KEYS[3], ARGV[i])
  if value then
    local gift = string.sub(value, string.find(value, '\\n', 1, true) + 1)
    if redis.call('HSETNX', KEYS[2], ARGV[i], '0\\n' .. gift) == 1 then
      redis.call('ZADD', KEYS[1], now, ARGV[i])
      count = count + 1
    end
    redis.call('HDEL', KEYS[3], ARGV[i])
    redis.call('ZREM', KEYS[4], ARGV[i])
  end
end
return count
`
