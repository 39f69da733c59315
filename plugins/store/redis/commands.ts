import type { Redis, Result } from 'ioredis'
import { ban, countPin, join, leave, listBans, participants, someMembers, unban } from './scripts/members.ts'
import { isIntact, replaceNodeMembers } from './scripts/node-members.ts'
import { forgetEmpty, removeRoom, touch } from './scripts/records.ts'
import { appendLog, removeFromLog, swapDocument } from './scripts/state.ts'

declare module 'ioredis' {
  interface RedisCommander<Context> {
    msabJoin (...args: (string | number)[]): Result<unknown[], Context>
    msabCountPin (...args: (string | number)[]): Result<[outcome: string, msLeft?: number], Context>
    msabLeave (...args: (string | number)[]): Result<[number, number] | null, Context>
    msabRemoveRoom (...args: (string | number)[]): Result<string | null, Context>
    msabParticipants (...args: (string | number)[]): Result<[places: string[], profiles: (string | null)[], count: number], Context>
    msabSomeMembers (...args: (string | number)[]): Result<string[], Context>
    msabForgetEmpty (...args: (string | number)[]): Result<number, Context>
    msabIsIntact (...args: string[]): Result<number, Context>
    msabTouch (...args: (string | number)[]): Result<number, Context>
    msabAppendLog (...args: (string | number)[]): Result<[receivers: number, waitMs: number], Context>
    msabRemoveFromLog (...args: string[]): Result<number, Context>
    msabBan (...args: (string | number)[]): Result<number, Context>
    msabUnban (...args: string[]): Result<number, Context>
    msabListBans (...args: (string | number)[]): Result<string[], Context>
    msabSwapDocument (...args: (string | number)[]): Result<string[] | null, Context>
    msabReplaceNodeMembers (...args: (string | number)[]): Result<[joined: string[], left: (string | null)[], count: number, closed: number, documents: string[]], Context>
  }
}

export function defineCommands (redis: Redis): void {
  redis.defineCommand('msabJoin', { numberOfKeys: 12, lua: join })
  redis.defineCommand('msabCountPin', { numberOfKeys: 2, lua: countPin })
  redis.defineCommand('msabLeave', { numberOfKeys: 7, lua: leave })
  redis.defineCommand('msabRemoveRoom', { numberOfKeys: 8, lua: removeRoom })
  redis.defineCommand('msabParticipants', { numberOfKeys: 2, lua: participants })
  redis.defineCommand('msabSomeMembers', { numberOfKeys: 2, lua: someMembers })
  redis.defineCommand('msabForgetEmpty', { numberOfKeys: 3, lua: forgetEmpty })
  redis.defineCommand('msabIsIntact', { numberOfKeys: 5, lua: isIntact })
  redis.defineCommand('msabTouch', { numberOfKeys: 1, lua: touch })
  redis.defineCommand('msabReplaceNodeMembers', { numberOfKeys: 8, lua: replaceNodeMembers })
  redis.defineCommand('msabAppendLog', { numberOfKeys: 5, lua: appendLog })
  redis.defineCommand('msabRemoveFromLog', { numberOfKeys: 1, lua: removeFromLog })
  redis.defineCommand('msabBan', { numberOfKeys: 2, lua: ban })
  redis.defineCommand('msabUnban', { numberOfKeys: 2, lua: unban })
  redis.defineCommand('msabListBans', { numberOfKeys: 1, lua: listBans })
  redis.defineCommand('msabSwapDocument', { numberOfKeys: 2, lua: swapDocument })
}
