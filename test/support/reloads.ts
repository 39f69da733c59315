import type { Test } from 'tap'
import type { ReceiveMode } from '../../client/index.ts'
import { adminKey } from './build.ts'
import { lostPackets } from './lost-packets.ts'
import { until } from './retry.ts'
import { createVisitors } from './visitors.ts'
import type { Listener } from './visitors.ts'

/** Environment of servers for {@link reloadAll}. */
export const reloadable = { FEATURES: 'auth,media,mix,seats', MIX_FROM_LISTENERS: '0', SEAT_COMMANDS_PER_MINUTE: '10000' }

export interface Reloads {
  reloads: number
  /** The longest silence of a speaker, measured by clients that receive the voices, in milliseconds. */
  voicesMs: number
  /** Like {@link voicesMs}, for clients that receive the mix. */
  mixMs: number
  /** Like {@link voicesMs}, for clients that take and leave a seat. */
  seatedMs: number
  /** Total number of packets that the clients lost. */
  lost: number
}

/**
 * Reloads features on servers that share a store, one after the other, while two users speak. Each server has three
 * listening clients. One client receives the voices, and one client receives the mix. The third client takes or leaves
 * a seat during each reload, and therefore switches between the voices and the mix.
 *
 * @param urls URLs of servers with the environment {@link reloadable}
 * @param names the features
 */
export async function reloadAll (t: Test, urls: readonly string[], names: readonly string[], rounds: number): Promise<Reloads> {
  const { speak, listen } = createVisitors(t)
  const place = { roomId: 'reloads', tones: { 1: 500, 2: 900 } }
  const speakers = [await speak(urls[0] as string, 1, place), await speak(urls.at(1) ?? urls[0] as string, 2, place)]
  const onEach = (first: number, receive: ReceiveMode) => Promise.all(urls.map((url, i) => listen(url, first + i, { ...place, receive })))
  const [ofVoices, ofMix, seated] = [await onEach(10, 'voices'), await onEach(20, 'mix'), await onEach(30, 'auto')]
  const listeners = [...ofVoices, ...ofMix, ...seated]
  const everybodyHears = () => until(() => listeners.every((one) => one.hears(1) && one.hears(2)), 60_000)
  // On a busy machine, a server's mixer thread may take more than 5 s to start. Until the thread has started, the
  // clients receive the voices and request the mix again every 5 s.
  await until(() => [...ofMix, ...seated].every(({ room }) => room.audio?.reception === 'mix'), 60_000)
  await everybodyHears()
  for (const one of listeners) one.watch()
  const lostBefore = await lostPackets()
  let reloads = 0
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      for (const url of urls) {
        const sits = reloads % 2 === 0
        const moves = seated.map(async ({ room: { connection, seats } }) => { await (sits ? seats.takeFree() : connection.request('seat:leave', {})) })
        const response = await fetch(`${url}/admin/features/${name}/reload`, { method: 'POST', headers: { authorization: `Bearer ${adminKey}` } })
        t.equal(response.status, 200, name)
        reloads++
        await Promise.all(moves)
        await until(() => seated.every(({ room: { audio, seats } }) => (seats.own !== undefined) === sits && audio?.reception === (sits ? 'voices' : 'mix')), 60_000)
      }
      await everybodyHears()
    }
  }
  const longest = (group: readonly Listener[]) => Math.round(Math.max(...group.flatMap((one) => [one.longestSilence(1), one.longestSilence(2)])))
  const result = { reloads, voicesMs: longest(ofVoices), mixMs: longest(ofMix), seatedMs: longest(seated), lost: await lostPackets() - lostBefore }
  for (const room of [...speakers, ...listeners.map(({ room }) => room)]) room.close()
  return result
}
