import type { FastifyBaseLogger } from 'fastify'
import type { z } from 'zod'
import { Internal } from '../../errors/codes.ts'
import type { HookRegistrar } from '../../hooks.ts'
import type { JobsRegistrar } from '../../jobs/runner.ts'
import type { StateStore } from '../../store/store.ts'
import { wakeJob } from './commit.ts'
import type { createCommit } from './commit.ts'
import type { KnownStates } from './known.ts'
import type { Decide, RoomStateHandle } from './types.ts'

/** Where a definition registers what it does: the handlers are withdrawn with their owner. */
export interface StateRegistrars {
  hooks: HookRegistrar
  jobs: JobsRegistrar
}

export interface StateEngine {
  states: Pick<KnownStates, 'get'>
  change: ReturnType<typeof createCommit>
  store: Pick<StateStore, 'readDocuments'>
  log: Pick<FastifyBaseLogger, 'error'>
}

/** Parses stored state, each version once: values of one version are the same object. */
function createParser<S> (name: string, schema: z.ZodType<S>, log: StateEngine['log']) {
  const parsed = new WeakMap<object, z.ZodSafeParseResult<S>>()

  function resultOf (roomId: string, raw: unknown): z.ZodSafeParseResult<S> {
    const known = typeof raw === 'object' && raw !== null ? parsed.get(raw) : undefined
    if (known) return known
    const result = schema.safeParse(raw)
    if (typeof raw === 'object' && raw !== null) parsed.set(raw, result)
    if (!result.success) log.error({ err: result.error, roomId, state: name }, 'stored room state does not match its schema')
    return result
  }

  return {
    /** @returns undefined when the state does not match the schema */
    valid: (roomId: string, raw: unknown): S | undefined => raw === undefined ? undefined : resultOf(roomId, raw).data,
    /** @throws INTERNAL when the state does not match the schema */
    parse (roomId: string, raw: unknown): S | undefined {
      if (raw === undefined) return
      const result = resultOf(roomId, raw)
      if (!result.success) throw Object.assign(new Internal(), { cause: result.error })
      return result.data
    },
    /** Records state that a decision has returned: it needs no parsing. */
    trust (state: S): void {
      if (typeof state === 'object' && state !== null) parsed.set(state, { success: true, data: state })
    }
  }
}

/** Creates the typed handle of one definition; see `RoomState.define`. */
export function createHandle<S> (name: string, schema: z.ZodType<S>, { states, change, store, log }: StateEngine, { hooks, jobs }: StateRegistrars): RoomStateHandle<S> {
  const parser = createParser(name, schema, log)
  const readRaw = async (roomIds: readonly string[]): Promise<unknown[]> =>
    (await store.readDocuments(roomIds, name)).map((text) => text === undefined ? undefined : JSON.parse(text))

  return {
    name,
    read: async (roomId) => parser.parse(roomId, (await readRaw([roomId]))[0]),
    readMany: async (roomIds) => (await readRaw(roomIds)).map((raw, i) => parser.valid(roomIds[i] as string, raw)),
    peek: (roomId) => parser.valid(roomId, states.get(roomId, name)?.state),
    change: <R>(roomId: string, decide: Decide<S, R>) => change(roomId, name, (raw) => {
      const state = parser.parse(roomId, raw)
      const { state: next, ...decision } = decide(state)
      if (next === undefined || next === state) return decision
      parser.trust(next)
      return { ...decision, state: next }
    }) as Promise<R>,
    onChange (fn) {
      hooks.on('room:state', (room, changed, raw) => {
        if (changed !== name) return
        const state = parser.valid(room.roomId, raw)
        if (state !== undefined || raw === undefined) fn(room, state)
      })
    },
    onMissed (fn) {
      hooks.on('room:stateMissed', (room, missed, from, to, send) => {
        if (missed !== name) return
        const state = parser.valid(room.roomId, to)
        if (state !== undefined || to === undefined) send(fn(room, parser.valid(room.roomId, from), state))
      })
    },
    wakeAt: (roomId, at) => jobs.schedule(wakeJob(name), roomId, at),
    onWake (fn) {
      jobs.on(wakeJob(name), fn)
    }
  }
}
