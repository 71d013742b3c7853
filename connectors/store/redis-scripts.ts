/**
 * The Lua scripts of the Redis driver. Each touches keys of one slot only, all of them named in KEYS, and is one atomic step.
 * Invariant: values are compared by number, never with `<` on strings: Lua compares those by the server's locale.
 */

/** Name of a script and how many keys it takes. */
export interface RedisScript {
  readonly keys: number
  readonly lua: string
  /** Runs also when Redis is out of memory: only tiny writes that the way back to free memory needs. */
  readonly allowOom?: true
}

/**
 * Guarded write of one bucket. ARGV: id, value, id, value, …, at most `mostScriptEntries` pairs; bytes 5 to 16 (Lua counts
 * from 1) of a value are its source. One HMGET and one HSET: a call per entry costs the server a quarter more.
 * Answer: one character per entry, 1 written, 0 stale.
 */
const write = `
local key, ids, puts, newest, outcomes = KEYS[1], {}, {}, {}, {}
for i = 1, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local stored = redis.call('HMGET', key, unpack(ids))
for i = 1, #ids do
  local id, value = ids[i], ARGV[2 * i]
  local old = newest[id] or stored[i]
  local newer = true
  if old then
    if #old < 32 then return redis.error_reply('CORRUPT value of ' .. id .. ' in ' .. key .. ' has no whole header') end
    local stream, high, low = struct.unpack('>I4I4I4', value, 5)
    local oldStream, oldHigh, oldLow = struct.unpack('>I4I4I4', old, 5)
    if stream ~= oldStream then newer = stream > oldStream
    elseif high ~= oldHigh then newer = high > oldHigh
    else newer = low > oldLow end
  end
  if newer then
    newest[id] = value
    puts[#puts + 1] = id
    puts[#puts + 1] = value
  end
  outcomes[i] = newer and '1' or '0'
end
if #puts > 0 then redis.call('HSET', key, unpack(puts)) end
return table.concat(outcomes)
`

/** Most entries of one guarded write: Lua passes at most about 8,000 values to a command. */
export const mostScriptEntries = 1_000

/**
 * Compare-and-set of the live pointer with its history. KEYS: live, history, commands. ARGV: expected version and epoch (both
 * empty: nothing is live), version, action, command id, command id as JSON. Numbers stay text, so that none is rounded.
 * Answer: outcome and the JSON of the change, or of what is live.
 */
const swap = `
local done = redis.call('HGET', KEYS[3], ARGV[5])
if done then return {'repeated', done} end
local live = redis.call('GET', KEYS[1])
local version, epoch, seq = '', '', '0'
if live then
  version, epoch, seq = string.match(live, '^{"version":(%d+),"epoch":(%d+),"seq":(%d+)}$')
  if not version then return redis.error_reply('CORRUPT live pointer in ' .. KEYS[1]) end
end
if version ~= ARGV[1] or epoch ~= ARGV[2] then return {'moved', live or ''} end
local function after(text) return string.format('%.0f', (tonumber(text) or 0) + 1) end
epoch, seq = after(epoch), after(seq)
if redis.call('LLEN', KEYS[2]) + 1 ~= tonumber(seq) then return redis.error_reply('CORRUPT history in ' .. KEYS[2] .. ': it does not end at the live pointer') end
local time = redis.call('TIME')
local at = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local change = '{"seq":' .. seq .. ',"version":' .. ARGV[3] .. ',"epoch":' .. epoch .. ',"action":"' .. ARGV[4] .. '","commandId":' .. ARGV[6] .. ',"at":' .. at .. '}'
redis.call('RPUSH', KEYS[2], change)
redis.call('HSET', KEYS[3], ARGV[5], change)
redis.call('SET', KEYS[1], '{"version":' .. ARGV[3] .. ',"epoch":' .. epoch .. ',"seq":' .. seq .. '}')
return {'swapped', change}
`

/** KEYS: record, versions. ARGV: version, bytes. */
const putVersion = `
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[1], ARGV[1])
return 1
`

/** KEYS: lease, holders. ARGV: holder, milliseconds. */
const pin = `
redis.call('SET', KEYS[1], '', 'PX', ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
`

/** Forgets a holder whose lease has run out, unless it was renewed meanwhile. KEYS: lease, holders. ARGV: holder. */
const forgetPin = `
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SREM', KEYS[2], ARGV[1]) end
return 1
`

/** Entries and bytes of a bucket. KEYS: bucket. */
const usage = `
return {redis.call('HLEN', KEYS[1]), redis.call('MEMORY', 'USAGE', KEYS[1]) or 0}
`

export const redisScripts = {
  ssWrite: { keys: 1, lua: write },
  ssSwap: { keys: 3, lua: swap, allowOom: true },
  ssPutVersion: { keys: 2, lua: putVersion, allowOom: true },
  ssPin: { keys: 2, lua: pin, allowOom: true },
  ssForgetPin: { keys: 2, lua: forgetPin },
  ssUsage: { keys: 1, lua: usage },
} as const satisfies Record<string, RedisScript>

export type RedisScriptName = keyof typeof redisScripts

/**
 * Text of a script for a server.
 * @param major - major version of the server; script flags exist since 7
 */
export function scriptText(script: RedisScript, major: number): string {
  return script.allowOom === true && major >= 7 ? `#!lua flags=allow-oom\n${script.lua}` : script.lua
}
