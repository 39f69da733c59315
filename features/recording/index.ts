import { defineFeature, openBucket } from 'flylive-audio-server/feature'
import type { z } from 'flylive-audio-server/feature'
import { config } from './config.ts'
import { events, joinReply, requests } from './messages.ts'
import { Recorder } from './recorder.ts'
import { adminRoutes } from './rest.ts'
import { createRecordings } from './service.ts'
import { settled } from './steps.ts'
import { createStorage } from './storage.ts'

export { config, requests }
export * as errors from './errors.ts'

declare module 'flylive-audio-server/feature' {
  interface ClusterMessages {
    /**
     * Asks the server that records the room to add an entry to the recording's timeline. Other servers ignore the
     * message.
     */
    'recording:entry': { recordingId: string, entry: object }
  }
}

/**
 * Records rooms to MP4 files with Opus audio: one file for the mix and, if requested, one file per voice. The recorder
 * keeps running during a reload of the feature, so no audio is lost.
 */
export default defineFeature(async function recording (app, settings) {
  const { messages } = app
  const { s3Url: url, s3Region: region, s3AccessKeyId: accessKeyId = '', s3SecretAccessKey: secretAccessKey = '' } = settings
  const steps = app.keep('steps', () => new Map<string, Promise<void>>())
  const recorder = app.keep('recorder', () => new Recorder(), async (recorder) => {
    await recorder.close()
    // Wait for the uploads of the ended recordings.
    await settled(steps)
  })
  const storage = createStorage(app, url === undefined ? undefined : await openBucket({ url, region, accessKeyId, secretAccessKey }))
  const recordings = createRecordings(app, settings, recorder, steps, storage)
  messages.events(events)
  messages.adds('room:join', joinReply)
  const limit = { perMinute: settings.commandsPerMinute, name: 'recording', eventual: true }

  messages.on('recording:start', { ...requests['recording:start'], limit }, async ({ tracks }, { room, session }) => await recordings.start(room, session, tracks))
  messages.on('recording:stop', { ...requests['recording:stop'], limit }, async (_data, { room, session }) => await recordings.stop(room, session))
  app.hooks.on('room:join', ({ roomId }) => {
    const recordingId = recordings.peek(roomId)
    return { recording: recordingId === undefined ? null : { recordingId } } satisfies z.input<typeof joinReply>
  })
  adminRoutes(app, recordings)
}, { name: 'recording', dependencies: ['rooms', 'sfu', 'kv', 'cluster', 'jobs', 'store'], config })
