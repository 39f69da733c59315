import fp from 'fastify-plugin'
import { createInFlight } from './dispatch/in-flight.ts'
import type { InFlight } from './dispatch/in-flight.ts'

/**
 * Maps each kind of registration to the type of its values. The module that reads the registrations of a kind declares
 * the kind here, by module augmentation.
 */
export interface RegistrationKinds {}

type Kind = keyof RegistrationKinds

/** Something that an owner has registered under a key, such as the handler of a message type. */
export interface Registration<V> {
  /** `kernel`, or the name of a feature. */
  readonly owner: string
  /** Tracks the running calls to the owner's code. */
  readonly inFlight: InFlight
  readonly value: V
}

type ByKey<K extends Kind> = ReadonlyMap<string, readonly Registration<RegistrationKinds[K]>[]>

const none: readonly never[] = []

/**
 * Everything that one owner (the kernel, or one generation of a feature) has registered. The registrations of a
 * generation take effect together, when {@link RegistrationTable.install} puts them into service. From then on, the
 * generation can add more.
 */
export class Registrations {
  readonly owner: string
  readonly #inFlight: InFlight
  readonly #kinds = new Map<Kind, Map<string, readonly Registration<unknown>[]>>()
  /** Updates the table; set while the registrations are in service. */
  #changed: ((kind: Kind, key: string) => void) | undefined
  #ended = false

  constructor (owner: string, inFlight: InFlight = createInFlight()) {
    this.owner = owner
    this.#inFlight = inFlight
  }

  /**
   * Adds a registration; has no effect after {@link end}.
   *
   * @returns a function that removes the registration
   */
  add<K extends Kind> (kind: K, key: string, value: RegistrationKinds[K]): () => void {
    if (this.#ended) return () => {}
    const added: Registration<unknown> = { owner: this.owner, inFlight: this.#inFlight, value }
    this.#set(kind, key, [...this.get(kind, key), added])
    return () => this.#set(kind, key, this.get(kind, key).filter((one) => one !== added))
  }

  get<K extends Kind> (kind: K, key: string): readonly Registration<RegistrationKinds[K]>[] {
    return (this.#kinds.get(kind)?.get(key) ?? none) as readonly Registration<RegistrationKinds[K]>[]
  }

  has (kind: Kind, key: string): boolean {
    return this.#kinds.get(kind)?.has(key) === true
  }

  /** The keys and values of one kind, in order of registration. */
  entries<K extends Kind> (kind: K): [key: string, value: RegistrationKinds[K]][] {
    return [...this.#kinds.get(kind) ?? []].flatMap(([key, all]) => all.map(({ value }) => [key, value as RegistrationKinds[K]] as [string, RegistrationKinds[K]]))
  }

  /** Called by the table when the registrations take effect. */
  begin (changed: (kind: Kind, key: string) => void): void {
    this.#changed = changed
    for (const [kind, byKey] of this.#kinds) for (const key of byKey.keys()) changed(kind, key)
  }

  /** Removes all registrations except those of the given kinds. */
  retain (...kinds: readonly Kind[]): void {
    for (const [kind, byKey] of this.#kinds) {
      if (!kinds.includes(kind)) for (const key of byKey.keys()) this.#set(kind, key, [])
    }
  }

  /** Removes all registrations. Idempotent. */
  end (): void {
    this.#ended = true
    this.retain()
    this.#changed = undefined
  }

  #set (kind: Kind, key: string, all: readonly Registration<unknown>[]): void {
    const byKey = this.#kinds.get(kind) ?? new Map<string, readonly Registration<unknown>[]>()
    if (all.length > 0) this.#kinds.set(kind, byKey.set(key, all))
    else byKey.delete(key)
    this.#changed?.(kind, key)
  }
}

/** Everything that the kernel and the features have registered. */
export class RegistrationTable {
  readonly kernel = new Registrations('kernel')
  readonly #owners = new Map<string, Registrations>()
  readonly #kinds = new Map<Kind, Map<string, readonly Registration<unknown>[]>>()

  constructor () {
    this.install('kernel', this.kernel)
  }

  /**
   * The registrations of one kind that are in service, by key: first the kernel's, then the features', in the order in
   * which the features were enabled. The map is updated in place, so a caller can keep it. The lists in the map are
   * replaced, not updated.
   */
  inService<K extends Kind> (kind: K): ByKey<K> {
    const known = this.#kinds.get(kind) ?? new Map<string, readonly Registration<unknown>[]>()
    this.#kinds.set(kind, known)
    return known as ByKey<K>
  }

  owners (): Iterable<Registrations> {
    return this.#owners.values()
  }

  /**
   * Atomically replaces everything that an owner has registered. Running calls finish in the old handlers.
   *
   * @param next undefined removes everything
   */
  install (owner: string, next: Registrations | undefined): void {
    const old = this.#owners.get(owner)
    if (next) this.#owners.set(owner, next)
    else this.#owners.delete(owner)
    old?.end()
    next?.begin((kind, key) => this.#update(kind, key))
  }

  #update (kind: Kind, key: string): void {
    const byKey = this.inService(kind) as Map<string, readonly Registration<unknown>[]>
    const all: Registration<unknown>[] = []
    for (const registrations of this.#owners.values()) all.push(...registrations.get(kind, key))
    if (all.length > 0) byKey.set(key, all)
    else byKey.delete(key)
  }
}

declare module 'fastify' {
  interface FastifyInstance {
    registrations: RegistrationTable
  }
}

export default fp(async function registrations (app) {
  app.decorate('registrations', new RegistrationTable())
}, { name: 'registrations' })
