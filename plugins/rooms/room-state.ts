import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { createKnownStates, createStateDelivery } from './state/delivery.ts'
import type { StateDelivery } from './state/delivery.ts'
import { createCommit, createHandle } from './state/handle.ts'
import type { CommitOptions, StateEngine, StateRegistrars } from './state/handle.ts'
import { createStateRecovery } from './state/recovery.ts'
import type { StateRecovery } from './state/recovery.ts'
import type { RoomEvent, RoomStateHandle } from './state/types.ts'
import type { LocalRoom } from './node-rooms.ts'

export type * from './state/types.ts'

export interface StateOptions<S = unknown> {
  /**
   * True if the state survives a server restart even without Redis, as the room itself does. If this option is a
   * function, only the part of the state that the function returns survives, and changes to other parts are not written
   * to disk. With Redis, all of the state survives. Default: false.
   */
  durable?: boolean | ((state: S) => S)
  /**
   * True if the state is allowed to change during the three seconds in which servers restore a room that the store has
   * lost. Such a change may be based on an outdated version. Set this only if each server replaces its own part of the
   * state whenever that part is missing or outdated. Default: false.
   */
  changesDuringRestore?: boolean
}

export interface RoomState {
  /**
   * Defines a named state. Unloading the feature removes the definition but keeps the stored state for the next
   * definition.
   *
   * @param schema parses state that comes from the store or from other servers. If a version of the state does not
   *   match the schema, an error is logged once, `peek` returns undefined, no handlers are called, and `read` and
   *   `change` throw INTERNAL
   * @throws if another feature has defined a state with the same name
   */
  define<S> (name: string, schema: z.ZodType<S>, options?: StateOptions<S>): RoomStateHandle<S>
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /**
     * The state of a room with members on this server has changed or no longer exists. The hook's name ends with the
     * state's name. Called once per version, before the version's events are delivered.
     */
    [hook: `room:state:${string}`]: (room: LocalRoom, state: unknown) => void
    /**
     * Members on this server have missed changes of a room's state. The feature that owns the state must synchronously
     * call `send` with the events that turn `from` into `to`. `from` is undefined if the state did not exist before;
     * `to` is undefined if the state no longer exists.
     */
    'room:stateMissed': (room: LocalRoom, name: string, from: unknown, to: unknown, send: (events: readonly RoomEvent[]) => void) => void
  }
}

/** {@link RoomState}, with additional methods for the kernel. */
export interface RoomStateKernel extends RoomState, Pick<StateDelivery, 'applyRemote' | 'afterReply'>, StateRecovery {
  /** Discards this server's copy of a room's state, when the room no longer has members on this server. */
  forget (roomId: string): void
  /**
   * Creates a {@link RoomState} for one instance of a feature.
   *
   * @param onClose registers a function to call when the instance is closed
   */
  forFeature (feature: string, registrars: StateRegistrars, onClose: (fn: () => void) => void): RoomState
}

export function createRoomState (app: FastifyInstance, options: Omit<CommitOptions, 'states' | 'durable' | 'unhindered'>): RoomStateKernel {
  const { hooks, jobs, log, store } = app
  const durable: CommitOptions['durable'] = new Map()
  const unhindered = new Set<string>()
  const states = createKnownStates(hooks)
  const { sendMissed, ...delivery } = createStateDelivery(app, states)
  const recovery = createStateRecovery(app, states, { ...delivery, sendMissed }, options.unsynced)
  const engine: StateEngine = { states, store, log, change: createCommit(app, { ...options, states, durable, unhindered }) }
  // Counts the instances, because two instances of a feature exist during a reload.
  const owners = new Map<string, { feature: string, instances: number }>()

  function claim (name: string, feature: string): () => void {
    const owner = owners.get(name) ?? { feature, instances: 0 }
    if (owner.feature !== feature) throw new Error(`The room state ${name} is defined by the feature ${owner.feature}`)
    owner.instances++
    owners.set(name, owner)
    return () => { if (--owner.instances === 0) owners.delete(name) }
  }

  function define<S> (name: string, schema: z.ZodType<S>, { durable: survives = false, changesDuringRestore = false }: StateOptions<S>, registrars: StateRegistrars): RoomStateHandle<S> {
    if (changesDuringRestore) unhindered.add(name)
    else unhindered.delete(name)
    if (survives !== false) durable.set(name, survives === true ? (state) => state : (state) => survives(state as S))
    return createHandle(name, schema, engine, registrars)
  }

  return {
    define: (name, schema, options = {}) => define(name, schema, options, { hooks, jobs }),
    forFeature: (feature, registrars, onClose) => ({
      define (name, schema, options = {}) {
        onClose(claim(name, feature))
        const handle = define(name, schema, options, registrars)
        const part = durable.get(name)
        // After a reload, `durable` contains the new instance's entry, which must not be deleted.
        onClose(() => { if (durable.get(name) === part) durable.delete(name) })
        return handle
      }
    }),
    ...delivery,
    ...recovery,
    forget: states.forget
  }
}
