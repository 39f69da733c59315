import { ref } from 'vue'
import { adminStrings } from '../strings.ts'

export type UserId = string | number

export interface RoomSummary {
  id: string
  /** null if the room has no owner. */
  ownerId: UserId | null
  participants: number
  seated: number
  producers: number
  createdAt: number
  lastActivityAt: number
}

export interface Room {
  id: string
  /** null if the room has no owner. */
  ownerId: UserId | null
  seatCount: number
  locked: boolean
  createdAt: number
  lastActivityAt: number
  participantCount: number
  participants: { userId: UserId, name?: string }[]
  seats?: { seatIndex: number, userId: UserId, isMuted: boolean }[]
  producers: { producerId: string, userId: UserId, isPaused: boolean }[]
  transports: { transportId: string, userId: UserId, type: 'producer' | 'consumer', iceState: string, dtlsState: string, node: string }[]
  worker: number | null
  routerId: string | null
}

export interface Seating {
  seatCount: number
  seats: { seatIndex: number, userId: UserId, isMuted: boolean, selfMuted: boolean, awayUntil: number | null }[]
  lockedSeats: number[]
  invites: { seatIndex: number, userId: UserId, invitedById: UserId, expiresAt: number }[]
  /** Raised hands; absent if the server does not support raising hands. */
  requests?: { userId: UserId }[]
}

export interface User {
  userId: string
  sockets: { sessionId: string, node: string, roomId: string | null, connectedAt: number }[]
  roomId: string | null
  seat: number | null
}

export interface Feature {
  name: string
  state: 'enabled' | 'disabled' | 'failed'
  version: string | null
  generation: number
  dependencies: string[]
  loadedAt: number | null
  error: string | null
  messages: string[]
  routes: string[]
  config: Record<string, unknown>
  configSchema: Record<string, unknown>
}

export type FeatureAction = 'enable' | 'disable' | 'reload'
export type ChangedFeature = Feature & { changed: { enabled: string[], disabled: string[] } }

export interface DeadLetter {
  transactionId: string
  roomId: string
  senderId: UserId
  recipientId: UserId
  giftId: number
  quantity: number
  tries: number
  reason: string
  deadAt: number
}

/** A room on air. */
export interface Broadcast {
  roomId: string
  nodeId: string
  startedAt: number
  listeners: number
  delayMs: number | null
  restarts: number
  isEncrypted: boolean
}

export interface Health {
  version: string
  node: string
  uptime: number
  checks: Record<string, { ok: boolean, error?: string }>
  features: { name: string, state: Feature['state'] }[]
  /**
   * All servers. The server that sent the response comes first. Responses from older servers do not have this field.
   */
  nodes?: Node[]
}

export interface Node {
  nodeId: string
  name: string
  state: 'ready' | 'cordon' | 'drain'
  connections: number
  rooms: number
  /** CPU load of each media worker; 1 means one full core. */
  workersCpu: number[]
}

export interface Metric {
  name: string
  /** `value` is null if the sample is not a finite number. */
  samples: { name: string, labels: Record<string, string | number>, value: number | null }[]
}

/** An error response. The codes UNREACHABLE and UNREADABLE come from the page itself, not from the server. */
export class ApiError extends Error {
  override name = 'ApiError'
  readonly code: string
  readonly status: number
  readonly details: unknown

  constructor (code: string, message: string, status = 0, details?: unknown) {
    super(message)
    this.code = code
    this.status = status
    this.details = details
  }
}

/** @returns true if the error has one of the codes */
export const hasCode = (error: unknown, ...codes: string[]): error is ApiError => error instanceof ApiError && codes.includes(error.code)

/**
 * @returns how long the server asks the client to wait before a retry, in milliseconds; undefined if the error has no
 *   such delay
 */
export function waitOf (error: unknown): number | undefined {
  const { retryAfterMs } = (hasCode(error, 'RATE_LIMITED') ? error.details : undefined) as { retryAfterMs?: number } | undefined ?? {}
  return retryAfterMs
}

/** @returns the error message for users */
export function wordsOf (error: unknown): string {
  const { refusals, tooMany } = adminStrings
  if (hasCode(error, 'RATE_LIMITED')) return tooMany(waitOf(error) ?? 0)
  const known = error instanceof ApiError ? refusals[error.code] : undefined
  return known ?? (error instanceof Error ? error.message : String(error))
}

/** True if the last call received a response. */
export const reachable = ref(true)

export interface CallOptions {
  method?: string
  body?: unknown
  /** Sent as `Authorization: Bearer`. */
  key?: string | undefined
  signal?: AbortSignal | undefined
}

/** @throws {ApiError} if there is no response or the response is an error; AbortError if the signal is aborted */
export async function call (path: string, { method = 'GET', body, key, signal }: CallOptions = {}): Promise<Response> {
  const headers: Record<string, string> = {}
  if (key !== undefined) headers.authorization = `Bearer ${key}`
  if (body !== undefined) headers['content-type'] = 'application/json'
  const response = await fetch(path, {
    method, headers, cache: 'no-store', ...(body === undefined ? {} : { body: JSON.stringify(body) }), ...(signal ? { signal } : {})
  }).catch((error: Error) => {
    if (signal?.aborted) throw error
    reachable.value = false
    throw new ApiError('UNREACHABLE', error.message)
  })
  reachable.value = true
  if (response.ok) return response
  throw await refusalOf(response)
}

async function refusalOf (response: Response): Promise<ApiError> {
  const { error } = await response.json().catch(() => ({})) as { error?: { code: string, message: string, details?: unknown } }
  return error
    ? new ApiError(error.code, error.message, response.status, error.details)
    : new ApiError('UNREADABLE', `HTTP ${response.status}`, response.status)
}

async function read<T> (response: Response): Promise<T> {
  return await response.json().catch(() => { throw new ApiError('UNREADABLE', `HTTP ${response.status}`, response.status) }) as T
}

/**
 * @param key returns the current admin key
 * @param refused called when the server rejects the current key
 */
export function createApi (key: () => string, refused: () => void) {
  async function admin (path: string, options: Omit<CallOptions, 'key'> = {}): Promise<Response> {
    const used = key()
    return await call(`admin/${path}`, { ...options, key: used }).catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 401 && used === key()) refused()
      throw error
    })
  }
  const get = async <T>(path: string, signal?: AbortSignal) => await read<T>(await admin(path, { signal }))
  const send = async <T>(method: string, path: string, body?: unknown) => await read<T>(await admin(path, { method, body }))
  const order = async (method: string, path: string, body?: unknown) => { await admin(path, { method, body }) }
  const id = (value: UserId) => encodeURIComponent(value)
  const page = (limit: number, cursor: string | null) => `?${new URLSearchParams({ limit: String(limit), ...(cursor === null ? {} : { cursor }) })}`

  return {
    rooms: (limit: number, cursor: string | null, signal?: AbortSignal) =>
      get<{ rooms: RoomSummary[], nextCursor: string | null }>(`rooms${page(limit, cursor)}`, signal),
    room: (roomId: string, signal?: AbortSignal) => get<Room>(`rooms/${id(roomId)}`, signal),
    seats: (roomId: string, signal?: AbortSignal) => get<Seating>(`rooms/${id(roomId)}/seats`, signal),
    resize: (roomId: string, seatCount: number) => send<Seating>('PATCH', `rooms/${id(roomId)}/seats`, { seatCount }),
    close: (roomId: string, reason: string) => order('POST', `rooms/${id(roomId)}/close`, reason === '' ? undefined : { reason }),
    kick: (roomId: string, userId: UserId, banSeconds: number) =>
      order('POST', `rooms/${id(roomId)}/kick`, { userId, ...(banSeconds > 0 ? { banSeconds } : {}) }),
    unban: (roomId: string, userId: string) => order('DELETE', `rooms/${id(roomId)}/bans/${id(userId)}`),
    user: (userId: string) => get<User>(`users/${id(userId)}`),

    features: async (signal?: AbortSignal) => (await get<{ features: Feature[] }>('features', signal)).features,
    change: (name: string, action: FeatureAction, cascade: boolean) =>
      send<ChangedFeature>('POST', `features/${id(name)}/${action}${cascade ? '?cascade=true' : ''}`),
    configure: (name: string, changes: Record<string, unknown>) => send<ChangedFeature>('PATCH', `features/${id(name)}/config`, changes),
    rescan: () => send<{ added: string[], removed: string[], failed: Record<string, string> }>('POST', 'features/rescan'),

    gifts: (signal?: AbortSignal) => get<{ queued: number, deadLetters: number, failed: number, ledger: number }>('gifts', signal),
    deadLetters: (limit: number, cursor: string | null, signal?: AbortSignal) =>
      get<{ deadLetters: DeadLetter[], nextCursor: string | null }>(`gifts/dead-letters${page(limit, cursor)}`, signal),
    replay: (transactionIds?: readonly string[]) =>
      send<{ replayed: number }>('POST', 'gifts/dead-letters/replay', transactionIds && { transactionIds }),

    broadcasts: (signal?: AbortSignal) => get<{ broadcasts: Broadcast[] }>('broadcasts', signal),

    /** A server that is not ready sends the same body with status 503, so the status is ignored. */
    health: async (signal?: AbortSignal) => {
      const response = await fetch('health', { headers: { authorization: `Bearer ${key()}` }, cache: 'no-store', ...(signal ? { signal } : {}) })
      return await read<Health>(response)
    },
    metrics: async (signal?: AbortSignal) => (await get<{ metrics: Metric[] }>('metrics', signal)).metrics,

    drain: (deadlineSeconds: number) => send<{ result: 'empty' | 'deadline', sessions: number }>('POST', 'drain', { deadlineSeconds })
  }
}

export type Api = ReturnType<typeof createApi>

/**
 * Reads a list page by page.
 *
 * @param wanted maximum number of entries to read
 * @param read returns one page with at most `limit` entries
 */
export async function readPages<T> (wanted: number, read: (limit: number, cursor: string | null) => Promise<{ items: T[], nextCursor: string | null }>): Promise<{ items: T[], more: boolean }> {
  const items: T[] = []
  let cursor: string | null = null
  do {
    const page: { items: T[], nextCursor: string | null } = await read(Math.min(wanted - items.length, longestPage), cursor)
    items.push(...page.items)
    cursor = page.nextCursor
  } while (cursor !== null && items.length < wanted)
  return { items, more: cursor !== null }
}

const longestPage = 200
