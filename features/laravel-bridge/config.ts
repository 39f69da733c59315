import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  url: fromEnv('LARAVEL_API_URL', z.url({ protocol: /^https?$/, error: 'must be like https://backend.example.com' }).optional()
    .describe('Base URL of the Laravel backend. Setting this variable turns laravel-bridge on.')),
  key: fromEnv('LARAVEL_INTERNAL_KEY', secret(z.string().min(32, 'must have at least 32 characters').optional()
    .describe('Key that the server sends to the backend as X-Internal-Key. Required with LARAVEL_API_URL.'))),
  timeoutMs: fromEnv('LARAVEL_API_TIMEOUT_MS', z.int().min(1).max(120_000).default(10_000)
    .describe('Timeout of a request to the backend, in milliseconds.'), read.number),
  eventsChannel: fromEnv('LARAVEL_EVENTS_CHANNEL', z.string().min(1).default('flylive:msab:events')
    .describe("Redis channel for the backend's events. If the backend adds a prefix to its Redis keys and channels, include the prefix.")),
  events: fromEnv('LARAVEL_EVENTS', z.array(z.string()).default([
    'balance.updated', 'reward.earned', 'badge.earned', 'level.up',
    'room.level_up', 'room.participant_count', 'room.member_joined', 'room.member_left', 'room.member_kicked', 'room.member_blocked',
    'room.member_role_changed', 'room.join_request_created', 'room.join_request_approved', 'room.join_request_rejected',
    'income_target.completed', 'income_target.member_completed',
    'agency.invitation', 'agency.join_request', 'agency.join_request_approved', 'agency.join_request_rejected', 'agency.member_kicked',
    'agency.member_joined', 'agency.member_left', 'agency.dissolved',
    'config:invalidate', 'asset:invalidate'
  ])
    .describe('Names of the backend events that the server forwards to clients. The server drops and counts all other events.'), read.list)
})

export const requirements = [
  { name: 'LARAVEL_INTERNAL_KEY', when: (given: Readonly<Record<string, string | undefined>>) => given.LARAVEL_API_URL !== undefined, reason: 'with LARAVEL_API_URL' }
]

export const enabledBy = 'LARAVEL_API_URL'
