import { defineFeature, Forbidden } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { roomPrefix } from './membership.ts'
import { events } from './messages.ts'

export { config }
/** The beginning of the ids of the channels' rooms. */
export const roomPrefixes = [roomPrefix]

declare module '../../plugins/cluster/messages.ts' {
  interface ClusterMessages {
    /** A user's channels have changed. */
    'ptt:channels': { userKey: string }
  }
}

/** How often the feature checks whether talks must end, in milliseconds. */
const tickMs = 25
/** How often the feature checks the channels' rooms, in milliseconds. */
const checkMs = 1000
const expireJob = 'push-to-talk-expire'
const expireMs = 6 * 3_600_000

/**
 * Lets push-to-talk radios (VoicePing) connect over a WebSocket with MessagePack frames. A channel's room has the id
 * `ptt:<channel>`.
 */
export default defineFeature(async function pushToTalk (app, settings) {
  // These imports are dynamic, so that a server without this feature does not load the libraries.
  const [{ createAuthentication }, { face }, { createService }] = await Promise.all([import('./token.ts'), import('./delivery.ts'), import('./service.ts')])
  const { hooks, jobs, log, messages } = app
  messages.events(events)
  const service = createService(app, settings)
  // Register this hook first, because the feature may fail to start below.
  app.addHook('onClose', service.close)

  app.gate.upgrade(settings.path, {
    face,
    // Browsers require the server to select one of the offered subprotocols. Like the VoicePing router, the server
    // selects the first one, which is the token.
    subprotocol: ([first]) => first,
    authenticate: await createAuthentication(app, settings.secret),
    opened: service.opened,
    receive: service.receive
  })
  hooks.on('session:close', service.closed)
  hooks.on('feature:loaded', (name) => { if (name === 'push-to-talk') service.takeOver() })
  hooks.on('feature:disabled', (name) => { if (name === 'push-to-talk') service.disabled() })

  hooks.on('room:admit', async (roomId, session) => {
    const admission = await service.admit(roomId, session)
    if (admission === 'refused') throw new Forbidden(`You are not a member of the channel for room ${roomId}`)
    return admission
  })
  hooks.on('room:join', (room, session) => {
    service.joined(room, session)
    return {}
  })
  hooks.on('room:kicked', service.kicked)
  hooks.on('media:producerOpened', (roomId, _producer, owner) => service.producerOpened(roomId, owner))

  app.cluster.on('ptt:channels', ({ userKey }) => service.channelsChanged(userKey))

  jobs.on(expireJob, async () => {
    await service.expireTalks()
    await jobs.schedule(expireJob, 'all', app.clock.now() + expireMs)
  })
  app.addHook('onReady', async () => {
    await jobs.schedule(expireJob, 'all', app.clock.now() + expireMs).catch((err: unknown) => log.debug({ err }, 'failed to schedule the deletion of old talks'))
  })

  const timers = [setInterval(service.tick, tickMs), setInterval(service.check, checkMs)]
  for (const timer of timers) timer.unref()
  app.addHook('onClose', async () => {
    for (const timer of timers) clearInterval(timer)
  })
}, { name: 'push-to-talk', dependencies: ['gate', 'rooms', 'sfu', 'sockets', 'kv', 'cluster', 'jobs', 'blobs'], config })
