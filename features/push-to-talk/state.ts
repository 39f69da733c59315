import type { Injection, OutgoingEvent, Session, Tap, UserId } from 'flylive-audio-server/feature'
import type { Frame } from './frames.ts'

// The feature's in-memory state, which survives reloads. The running generation of the feature sets its functions.

/** A connected radio. */
export interface Radio {
  readonly session: Session
  readonly userId: UserId
  readonly userKey: string
  readonly deviceId: string
  /** The keys of the radio's channels. */
  readonly channels: Set<string>
  /** Frames that wait while an earlier frame is being handled. */
  readonly queue: QueuedFrame[]
  isBusy: boolean
  /** New messages that wait until the missed messages have been sent; undefined after that. */
  held: HeldMessage[] | undefined
  /** True once all missed messages have been sent to the radio. */
  isCaughtUp: boolean
  /** The messages that the server has written to the radio in the last {@link storeMs}, oldest first. */
  received: ReceivedMessage[]
  talk: Talk | undefined
  /**
   * The target of the radio's last talk if the talk was ended because it was too long; otherwise undefined. The server
   * drops audio for this target until the next START.
   */
  cut: string | undefined
  /** The time in the id of the radio's last message, in epoch milliseconds. */
  lastMessageAt: number
}

/**
 * Maximum time from the `at` of a message until the message arrives at the recipients' radios, in milliseconds. Most of
 * this time is the time that the store takes.
 */
export const storeMs = 5000

export interface ReceivedMessage {
  messageId: string
  /** When the message was written, in epoch milliseconds. */
  at: number
}

export interface QueuedFrame {
  frame: Frame
  /** The frame's bytes. */
  data: Uint8Array
}

export interface HeldMessage {
  event: OutgoingEvent
  messageId: string
}

/**
 * A talk (push-to-talk transmission) by a user on this server. Radios talk to a channel or to one user; native clients
 * talk only to a channel.
 */
export interface Talk {
  readonly id: string
  readonly channelType: 0 | 1
  readonly fromId: UserId
  readonly userKey: string
  /** The id of the channel or user that receives the talk, with the type (number or string) from the radio's frames. */
  readonly toId: UserId
  /** Undefined for a private talk. */
  readonly channel: string | undefined
  /** Undefined for a native client. */
  readonly radio: Radio | undefined
  /** When the talk started. All times in this interface are in epoch milliseconds. */
  readonly startedAt: number
  /** When the talk last renewed its hold on the floor (the right to talk). */
  renewedAt: number
  /** When the native client last sent a packet with speech. */
  voiceAt: number
  /** When the STOP frame arrived (`at`), and when the STOP takes effect (`dueAt`). */
  stop: { at: number, dueAt: number, messageId: string } | undefined
  isFinished: boolean
  /** The packets recorded so far; undefined if talks are not recorded. */
  readonly packets: Uint8Array[] | undefined
}

/** The talk that the members of a channel currently receive. */
export interface CurrentTalk {
  readonly talkId: string
  readonly fromId: UserId
  readonly userKey: string
  readonly nodeId: string
  /** Epoch milliseconds. */
  readonly startedAt: number
  /** Whether the talk is from a native client. */
  readonly isNative: boolean
}

/** A native client that is speaking or has spoken in a channel's room. */
export interface NativeVoice {
  readonly userId: UserId
  readonly userKey: string
  talk: Talk | undefined
  /** Packets that wait until the client has the floor; undefined while the client is not requesting the floor. */
  waiting: Uint8Array[] | undefined
  /** The server does not request the floor for this client again before this time. */
  deniedUntil: number
  /**
   * True if the client's last talk was too long, so that the client must be silent before it can take the floor again.
   */
  mustPause: boolean
  lastAudioAt: number
}

/** The producer that sends a radio's talk to native clients. */
export interface TalkInjection {
  readonly talkId: string
  /** Undefined while the producer is being opened. */
  injection: Injection | undefined
  readonly waiting: Uint8Array[]
  isClosed: boolean
}

/** A channel with radios or native clients on this server. */
export interface Channel {
  readonly key: string
  readonly roomId: string
  readonly radios: Set<Radio>
  /** The session that keeps the room open and owns the radios' audio. */
  gateway: Session | undefined
  /** Resolves when the room is open; undefined while no attempt to open the room is in progress. */
  ready: Promise<void> | undefined
  /**
   * The current talk; null if nobody is talking. Undefined if this server has not received the start or end of a talk
   * yet, or if the last talk was lost.
   */
  current: CurrentTalk | null | undefined
  /** When audio was last received, in epoch milliseconds. */
  lastAudioAt: number
  /** Id of the last talk for which a server with native clients has requested a producer. */
  wantedTalkId: string | undefined
  injection: TalkInjection | undefined
  tap: Tap | undefined
  isTapping: boolean
  readonly natives: Map<string, NativeVoice>
  /** When the channel became unused on this server; undefined while the channel is in use. */
  idleSince: number | undefined
}

/** A frame to be sent later. */
export interface DelayedFrame {
  /** Epoch milliseconds. */
  at: number
  radio: Radio
  frame: Frame
}

export interface State {
  /** By session id. */
  readonly radios: Map<string, Radio>
  /** By user key. */
  readonly users: Map<string, Set<Radio>>
  readonly channels: Map<string, Channel>
  readonly talks: Set<Talk>
  readonly gateways: WeakSet<Session>
  readonly delayed: Set<DelayedFrame>
  /** The sessions whose own login message has arrived from the bus; see `fromServer` in `radios.ts`. */
  readonly announced: WeakSet<Session>
  /**
   * The running generation of the feature; undefined if the feature is not enabled. Other generations ignore messages.
   */
  inService: symbol | undefined
  /**
   * Subscribes to the messages of a channel. An earlier generation that still finishes its calls may open a channel, so
   * it must use this function instead of its own subscriptions, which it is about to end.
   */
  subscribeToChannel: (key: string) => Promise<void>
  /** Like {@link subscribeToChannel}, for the messages for a user. */
  subscribeToUser: (userKey: string) => Promise<void>
  /** Called when the producers that a channel's tap follows have changed, and when the tap opens or closes. */
  voicesChanged: (channel: Channel) => void
}

export const createState = (): State => ({
  radios: new Map(),
  users: new Map(),
  channels: new Map(),
  talks: new Set(),
  gateways: new WeakSet(),
  delayed: new Set(),
  announced: new WeakSet(),
  inService: undefined,
  async subscribeToChannel () {},
  async subscribeToUser () {},
  voicesChanged () {}
})
