import { cursor, keyBehind, nextCursor, pageOf, userId, withDetails, z } from 'flylive-audio-server/feature'
import type { ByteRange, FeatureInstance } from 'flylive-audio-server/feature'
import { FileNotFound, RangeNotSatisfiable, RecordingNotFound } from './errors.ts'
import { reason } from './messages.ts'
import { idPattern, recordedFile } from './records.ts'
import type { RecordingRecord } from './records.ts'
import type { Recordings } from './service.ts'
import { readTimeline, speakersVtt, timelineEntry } from './timeline.ts'

const time = z.number().describe('Epoch milliseconds')
const view = z.object({
  recordingId: z.string(),
  roomId: z.string(),
  startedBy: userId,
  startedAt: time,
  endedAt: time.nullable().describe('Epoch milliseconds; null while the recording runs'),
  seconds: z.number().describe('Duration of the mix'),
  reason: reason.optional(),
  continues: z.string().optional().describe('If this recording continues another recording, the id of that recording. Another server continues a recording if the recording server stops, dies or no longer has members in the room'),
  files: z.array(recordedFile)
})
const viewOf = ({ recordingId, roomId, startedBy, startedAt, endedAt, reason, continues, files }: RecordingRecord): z.input<typeof view> => ({
  recordingId,
  roomId,
  startedBy,
  startedAt,
  endedAt: endedAt ?? null,
  seconds: files.find(({ kind }) => kind === 'mix')?.seconds ?? 0,
  ...(reason === undefined ? {} : { reason }),
  ...(continues === undefined ? {} : { continues }),
  files
})

const params = z.object({ recordingId: z.string() })
const fileParams = params.extend({ file: z.string() })

/**
 * @param header the Range header
 * @returns the range of the requested bytes; undefined if the whole file is requested
 * @throws RANGE_NOT_SATISFIABLE
 */
export function rangeOf (header: string | undefined, bytes: number): ByteRange | undefined {
  if (header === undefined || !header.startsWith('bytes=')) return
  const invalid = () => withDetails(new RangeNotSatisfiable(bytes), { bytes })
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header) ?? []
  if (first === '' && last === '') throw invalid()
  const range = first === ''
    ? { first: Math.max(0, bytes - Number(last)), last: bytes - 1 }
    : { first: Number(first), last: last === '' ? bytes - 1 : Math.min(Number(last), bytes - 1) }
  if (range.first >= bytes || range.last < range.first) throw invalid()
  return range
}

/** Adds the routes under /admin/recordings. */
export function adminRoutes (app: FeatureInstance, recordings: Recordings): void {
  const { index, storage } = recordings

  /** @throws RECORDING_NOT_FOUND, UNAVAILABLE */
  async function find (recordingId: string): Promise<RecordingRecord> {
    const record = idPattern.test(recordingId) ? await recordings.find(recordingId) : undefined
    if (!record) throw new RecordingNotFound(recordingId)
    return record
  }

  app.get('/admin/recordings', {
    schema: {
      summary: 'Lists the recordings, newest first',
      querystring: z.object({ cursor, limit: z.coerce.number().int().min(1).max(200).default(50) }),
      response: { 200: z.object({ recordings: z.array(view), nextCursor }) }
    }
  }, async ({ query: { cursor, limit } }) => {
    const behind = keyBehind(cursor)
    const ids = (await index.ids()).filter((id) => behind === '' || id < behind).slice(0, limit + 1)
    const { shown, nextCursor } = pageOf(ids, limit, (id) => id)
    return { recordings: (await index.getMany(shown)).map((record) => viewOf(recordings.current(record))), nextCursor }
  })

  app.get('/admin/recordings/:recordingId', {
    schema: {
      summary: 'Returns a recording with its files and its timeline of speakers, seats and chat messages',
      params,
      response: { 200: view.extend({ timeline: z.array(timelineEntry) }) }
    }
  }, async ({ params }) => {
    const record = await find(params.recordingId)
    return { ...viewOf(record), timeline: await readTimeline(storage, record) }
  })

  app.get('/admin/recordings/:recordingId/:file', {
    schema: {
      summary: 'Returns one file of a recording: audio (audio/mp4, Opus), timeline.json or speakers.vtt (WebVTT). The Range header selects part of a file',
      params: fileParams,
      response: {
        200: { description: 'The file', content: { 'audio/mp4': { schema: z.string() }, 'application/json': { schema: z.array(timelineEntry) }, 'text/vtt': { schema: z.string() } } },
        206: { description: 'The requested part of the file', content: { 'audio/mp4': { schema: z.string() } } }
      }
    }
  }, async ({ headers, params: { recordingId, file: name } }, reply) => {
    const record = await find(recordingId)
    if (name === 'timeline.json') return await reply.type('application/json').send(JSON.stringify(await readTimeline(storage, record)))
    if (name === 'speakers.vtt') {
      const isOfficial = !(headers.accept ?? '').includes('audio/webvtt')
      const seconds = record.files.find(({ kind }) => kind === 'mix')?.seconds ?? 0
      return await reply.type(isOfficial ? 'text/vtt; charset=utf-8' : 'audio/webvtt; charset=utf-8').send(speakersVtt(await readTimeline(storage, record), seconds * 1000))
    }
    const file = record.files.find((file) => file.name === name)
    if (!file) throw new FileNotFound(name)
    reply.header('accept-ranges', 'bytes')
    let range: ByteRange | undefined
    try {
      range = rangeOf(headers.range, file.bytes)
    } catch (error) {
      reply.header('content-range', `bytes */${file.bytes}`)
      throw error
    }
    const { first, last } = range ?? { first: 0, last: file.bytes - 1 }
    const stream = await storage.read(record, name, { first, last })
    if (!stream) throw new FileNotFound(name)
    if (range) reply.code(206).header('content-range', `bytes ${first}-${last}/${file.bytes}`)
    return await reply.type('audio/mp4').header('content-length', last - first + 1)
      .header('content-disposition', `attachment; filename="${recordingId}-${name}"`).send(stream as never)
  })

  app.delete('/admin/recordings/:recordingId', {
    schema: { summary: 'Deletes a recording that has ended', params, response: { 204: z.null() } }
  }, async (request, reply) => {
    const record = await find(request.params.recordingId)
    await recordings.delete(record)
    app.admin.audit(request, 'recording.delete', { recordingId: record.recordingId, roomId: record.roomId, before: { files: record.files.length }, after: null })
    return await reply.code(204).send(null)
  })
}
