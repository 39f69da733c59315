import { roomId, unavailable, userId, userKeyOf, z } from 'flylive-audio-server/feature'
import type { FeatureInstance, UserId } from 'flylive-audio-server/feature'

/** The prefix of the room ids that belong to push-to-talk channels. */
export const roomPrefix = 'ptt:'
export const roomOf = (channel: string): string => roomPrefix + channel
/** @returns a room's channel; undefined if the room belongs to no channel */
export const channelOf = (room: string): string | undefined => room.startsWith(roomPrefix) ? room.slice(roomPrefix.length) : undefined

/** How long the changes to a user's channels are stored after the last change, in milliseconds. */
const keptMs = 90 * 86_400_000
/** Maximum number of channels per user. */
const maxChannels = 256
const maxAttempts = 20

/** Changes to a user's channels that are not in the user's token. */
const changes = z.object({
  /**
   * The channels that the backend has set, and the time at which the backend set them, in epoch milliseconds. A newer
   * token takes precedence.
   */
  set: z.object({ at: z.number(), channels: z.array(z.string()) }).optional(),
  /** The channels that the user joined and left with USER_ADD and USER_REMOVE. */
  joined: z.array(z.string()),
  left: z.array(z.string()),
  /**
   * When the user became a member of each channel, in epoch milliseconds; 0 if the user was a member before the server
   * stored these times. Undefined until a radio of the user connects.
   */
  since: z.array(z.tuple([z.string(), z.number()])).optional()
})
type Changes = z.output<typeof changes>

const none: Changes = { joined: [], left: [] }
const idList = z.array(z.unknown()).catch([])

/** True if a channel id is valid: the id is not empty, and `ptt:<channel id>` is a valid room id. */
export const isChannel = (key: string): boolean => key !== '' && roomId.safeParse(roomOf(key)).success

/** @returns the valid channel ids in a token claim or message, as strings */
export function channelsIn (value: unknown): string[] {
  const keys = idList.parse(value).flatMap((id) => userId.safeParse(id).success ? [String(id)] : [])
  return [...new Set(keys)].filter(isChannel).slice(0, maxChannels)
}

/** The token claims that determine a user's channels. */
export interface TokenChannels {
  channelIds?: unknown
  /** Epoch seconds. */
  iat?: unknown
}

function effective ({ set, joined, left }: Changes, { channelIds, iat }: TokenChannels): string[] {
  const isNewer = set !== undefined && typeof iat === 'number' && iat * 1000 > set.at
  const base = set && !isNewer ? set.channels : channelsIn(channelIds)
  return [...new Set([...base.filter((channel) => !left.includes(channel)), ...joined])].slice(0, maxChannels)
}

export interface Membership {
  /**
   * @returns a user's channels, given the claims in the user's token
   * @throws UNAVAILABLE
   */
  channelsOf (user: UserId, token: TokenChannels): Promise<string[]>
  /**
   * Called when a radio of a user connects. Stores when the user became a member of the channels that are new in the
   * user's token.
   *
   * @returns for each of the user's channels, when the user became a member, in epoch milliseconds
   * @throws UNAVAILABLE
   */
  connected (user: UserId, token: TokenChannels): Promise<Map<string, number>>
  /**
   * Replaces a user's channels, at the backend's request.
   *
   * @param at when the request arrived, in epoch milliseconds
   * @param unlessNewer true: does nothing if a later request has been stored
   * @throws UNAVAILABLE
   */
  set (user: UserId, channels: readonly string[], at: number, unlessNewer: boolean): Promise<void>
  /**
   * Adds a user to a channel, or removes the user from it, at the user's own request.
   *
   * @throws UNAVAILABLE
   */
  change (user: UserId, channel: string, isMember: boolean): Promise<void>
}

/** Determines a user's channels from the token and from the changes that the backend and the user have made. */
export function createMembership ({ clock, kv }: Pick<FeatureInstance, 'clock' | 'kv'>): Membership {
  const stored = kv.namespace('push-to-talk:channels')
  const parse = (text: string | undefined): Changes => text === undefined ? none : changes.catch(none).parse(JSON.parse(text))

  /** @param change returns the changed value, or undefined to leave the value unchanged */
  async function update (key: string, change: (current: Changes) => Changes | undefined): Promise<void> {
    for (let i = 0; i < maxAttempts; i++) {
      const text = await stored.get(key)
      const changed = change(parse(text))
      if (!changed || await stored.compareAndSet(key, text, JSON.stringify(changed), { ttlMs: keptMs })) return
    }
    throw unavailable(`The channels of user ${key} could not be changed: too many concurrent changes`)
  }

  return {
    channelsOf: async (user, token) => effective(parse(await stored.get(userKeyOf(user))), token),
    async connected (user, { iat, ...token }) {
      let times: [string, number][] = []
      await update(userKeyOf(user), (current) => {
        const known = current.since && new Map(current.since)
        const issuedAt = Math.min(typeof iat === 'number' ? iat * 1000 : Infinity, clock.now())
        times = effective(current, { iat, ...token }).map((channel) => [channel, known ? known.get(channel) ?? issuedAt : 0])
        return JSON.stringify(times) === JSON.stringify(current.since) ? undefined : { ...current, since: times }
      })
      return new Map(times)
    },
    set: (user, channels, at, unlessNewer) => update(userKeyOf(user), ({ set, since }) => {
      if (unlessNewer && set && set.at > at) return
      const known = since && new Map(since)
      return {
        set: { at, channels: [...channels] },
        joined: [],
        left: [],
        ...(known ? { since: channels.map((channel) => [channel, known.get(channel) ?? at] satisfies [string, number]) } : {})
      }
    }),
    change: (user, channel, isMember) => update(userKeyOf(user), ({ set, joined, left, since }) => {
      const without = (list: string[]) => list.filter((other) => other !== channel)
      const others = since?.filter(([other]) => other !== channel)
      const joinedAt = since?.find(([other]) => other === channel)?.[1] ?? clock.now()
      return {
        set,
        joined: isMember ? [...without(joined), channel].slice(-maxChannels) : without(joined),
        left: isMember ? without(left) : [...without(left), channel].slice(-maxChannels),
        since: isMember && others ? [...others, [channel, joinedAt] satisfies [string, number]].slice(-maxChannels) : others
      }
    })
  }
}
