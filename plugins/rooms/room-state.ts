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

export interface RoomState {
  /**
   * Defines the state of one name. The definition is withdrawn with the feature. The stored state
   * stays, and the next definition uses it.
   *
   * @param schema parses state from the store and other servers. State that does not match is logged
   *   once per version: `peek` returns undefined, handlers are not called, `read` and `change` throw INTERNAL
   * @throws when another feature defines that name
   */
  define<S> (name: string, schema: z.ZodType<S>): RoomStateHandle<S>
}

declare module '../hooks.ts' {
  interface KernelHooks {
    /** The state of a room with members on this server has changed or was dropped. Called once per version, before its events are delivered. */
    'room:state': (room: LocalRoom, name: string, state: unknown) => void
    /**
     * Members on this server have missed changes. The feature that owns the state synchronously sends
     * the events that lead from one state to the other. Undefined: there is no state.
     */
    'room:stateMissed': (room: LocalRoom, name: string, from: unknown, to: unknown, send: (events: readonly RoomEvent[]) => void) => void
  }
}

/** The methods that only the kernel uses, in addition to {@link RoomState}. */
export interface RoomStateKernel extends RoomState, Pick<StateDelivery, 'applyRemote' | 'afterReply'>, StateRecovery {
  /** The room no longer has members on this server. */
  forget (roomId: string): void
  /**
   * Gives one instance of a feature its own {@link RoomState}.
   *
   * @param onClose calls a function when the instance is closed
   */
  forFeature (feature: string, registrars: StateRegistrars, onClose: (fn: () => void) => void): RoomState
}

export function createRoomState (app: FastifyInstance, options: Omit<CommitOptions, 'states'>): RoomStateKernel {
  const { hooks, jobs, log, store } = app
  const states = createKnownStates(hooks)
  const { sendMissed, ...delivery } = createStateDelivery(app, states)
  const recovery = createStateRecovery(app, states, { ...delivery, sendMissed }, options.unsynced)
  const engine: StateEngine = { states, store, log, change: createCommit(app, { ...options, states }) }
  // During a reload, two instances of the feature exist.
  const owners = new Map<string, { feature: string, instances: number }>()

  function claim (name: string, feature: string): () => void {
    const owner = owners.get(name) ?? { feature, instances: 0 }
    if (owner.feature !== feature) throw new Error(`The room state ${name} is defined by the feature ${owner.feature}`)
    owner.instances++
    owners.set(name, owner)
    return () => { if (--owner.instances === 0) owners.delete(name) }
  }

  return {
    define: (name, schema) => createHandle(name, schema, engine, { hooks, jobs }),
    forFeature: (feature, registrars, onClose) => ({
      define (name, schema) {
        onClose(claim(name, feature))
        return createHandle(name, schema, engine, registrars)
      }
    }),
    ...delivery,
    ...recovery,
    forget: states.forget
  }
}
