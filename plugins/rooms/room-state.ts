import type { FastifyInstance } from 'fastify'
import type { z } from 'zod'
import { createKnownStates, createStateDelivery } from './state/delivery.ts'
import type { StateDelivery } from './state/delivery.ts'
import { createCommit, createHandle } from './state/handle.ts'
import type { CommitOptions, StateEngine, StateRegistrars } from './state/handle.ts'
import { createStateRecovery } from './state/recovery.ts'
import type { StateRecovery } from './state/recovery.ts'
import type { RoomEvent, RoomStateHandle, StateOptions } from './state/types.ts'
import type { LocalRoom } from './node-rooms.ts'

export type * from './state/types.ts'

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

export function createRoomState (app: FastifyInstance, options: Omit<CommitOptions, 'states' | 'optionsOf'>): RoomStateKernel {
  const { hooks, jobs, log, store } = app
  /**
   * The features' states, by name. During a reload, the old and the new instance of a feature each have a definition,
   * and the newest one applies. If the reload fails, the old one applies again.
   */
  const owners = new Map<string, { feature: string, definitions: Set<StateOptions> }>()
  const kernel = new Map<string, StateOptions>()
  const optionsOf = (name: string) => [...owners.get(name)?.definitions ?? []].at(-1) ?? kernel.get(name) ?? {}
  const states = createKnownStates(hooks)
  const { sendMissed, ...delivery } = createStateDelivery(app, states)
  const recovery = createStateRecovery(app, states, { ...delivery, sendMissed }, options.unsynced)
  const engine: StateEngine = { states, store, log, change: createCommit(app, { ...options, states, optionsOf }) }

  /** @returns a function that removes the definition */
  function claim (name: string, feature: string, definition: StateOptions): () => void {
    const owner = owners.get(name) ?? { feature, definitions: new Set() }
    if (owner.feature !== feature) throw new Error(`The room state ${name} is defined by the feature ${owner.feature}`)
    owner.definitions.add(definition)
    owners.set(name, owner)
    return () => {
      owner.definitions.delete(definition)
      if (owner.definitions.size === 0 && owners.get(name) === owner) owners.delete(name)
    }
  }

  return {
    define (name, schema, options = {}) {
      kernel.set(name, options as StateOptions)
      return createHandle(name, schema, engine, { hooks, jobs })
    },
    forFeature: (feature, registrars, onClose) => ({
      define (name, schema, options = {}) {
        // Each definition needs an object of its own, because both instances of a feature may pass the same object.
        onClose(claim(name, feature, { ...options } as StateOptions))
        return createHandle(name, schema, engine, registrars)
      }
    }),
    ...delivery,
    ...recovery,
    forget: states.forget
  }
}
