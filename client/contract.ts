// Made by npm run build:client -- --types from the schemas with which the server
// validates: plugins/rooms/messages.ts and features/*/messages.ts. Do not edit.

/** A user's id, as the token had it: a number stays a number. Requests take either form. */
export type UserId = number | string

/** The public claims of a user. */
export type Profile = {
  userId: UserId
  id: UserId
  [x: string]: unknown
}

/** A chat message. */
export type ChatMessage = {
  roomId: string
  id: string
  userId: UserId
  userName: string
  /** Present if `avatar` is a public claim */
  avatar?: unknown | undefined
  content: string
  messageType: 'text' | 'emoji' | 'sticker' | 'system'
  timestamp: number
}

/** Requests that every server has. */
export interface CoreRequests {
  'room:join': {
    request: {
      roomId: string
      /** PIN that later joins require. Applies only when the join creates the room */
      pin?: string | undefined
    }
    reply: {
      roomId: string
      self: {
        userId: UserId
        role: 'owner' | 'admin' | 'member'
      }
      ownerId: UserId
      participantCount: number
      participants: Profile[]
      [x: string]: unknown
    }
  }
  'room:leave': {
    request: {}
    reply: {}
  }
  'room:participants': {
    request: {
      /** The nextCursor of the previous page */
      cursor?: string | undefined
      limit?: number
    }
    reply: {
      participants: Profile[]
      /** Total participants in the room */
      participantCount: number
      /** Cursor of the next page; null on the last page */
      nextCursor: string | null
    }
  }
  'user:getRoom': {
    request: {
      userId: UserId
    }
    reply: {
      roomId: string | null
    }
  }
}

/** Events that every server has. */
export interface CoreEvents {
  /** Sent first on every connection */
  'session:ready': {
    sessionId: string
    userId: UserId
    protocol: 'msab.v1'
    features: string[]
    serverTime: number
    [x: string]: unknown
  }
  /** Sent when a request without an id fails, or a frame cannot be read */
  error: {
    code: string
    message: string
    type?: string | undefined
    [x: string]: unknown
  }
  /** Sent to the other members when a user joins. Rooms with more than PRESENCE_COALESCE_OVER members receive room:presence instead */
  'room:userJoined': {
    roomId: string
    userId: UserId
    /** The public claims of a user */
    user: Profile
  }
  /** Sent to the other members when a user leaves. Rooms with more than PRESENCE_COALESCE_OVER members receive room:presence instead */
  'room:userLeft': {
    roomId: string
    userId: UserId
  }
  /** Sent to all members of a large room with the joins and leaves of the last second, in parts of at most 20 profiles */
  'room:presence': {
    roomId: string
    count: number
    joined: Profile[]
    left: UserId[]
  }
  /** Sent to all members when the room is closed */
  'room:closed': {
    roomId: string
    reason: ('closed_by_admin' | 'inactivity' | 'host_left' | 'backend') | string
    timestamp: number
  }
  /** Sent to every connection when its server starts to shut down */
  'server:draining': {
    /** When the server may close open sessions, epoch milliseconds */
    deadline: number
  }
  /** Sent to every connection when a feature is enabled. The server accepts the requests of the feature in all rooms; rejoin to receive the fields that it adds to room:join */
  'feature:enabled': {
    name: string
  }
  /** Sent to every connection when a feature is disabled. The server rejects the requests of the feature with FEATURE_DISABLED */
  'feature:disabled': {
    name: string
  }
}

/** Requests of the feature `chat`. */
export interface ChatRequests {
  'chat:message': {
    request: {
      content: string
      /** Only the owner and admins may send `system` */
      messageType?: 'text' | 'emoji' | 'sticker' | 'system'
    }
    reply: {
      id: string
      timestamp: number
    }
  }
  'chat:history': {
    request: {
      /** The nextCursor of the previous page, or the id of a message. Default: the newest messages */
      before?: string | undefined
      limit?: number
    }
    reply: {
      /** Oldest first */
      messages: ChatMessage[]
      /** Cursor of the page with older messages; null if there are none */
      nextCursor: string | null
    }
  }
}

/** Events of the feature `chat`. */
export interface ChatEvents {
  /** Sent to all members, including the sender */
  'chat:message': ChatMessage
}

/** What the feature `chat` adds to the reply of room:join. */
export interface ChatJoinReply {
  /** The newest messages, oldest first */
  chatHistory: ChatMessage[]
}

/** Requests of the feature `gifts`. */
export interface GiftsRequests {
  'gift:send': {
    request: {
      giftId: number
      recipientId: number | string
      quantity?: number
      /** Idempotency key. The client generates one per gift and repeats it in retries */
      key?: string | undefined
    }
    reply: {
      /** The gift is stored. The backend charges it once, or the sender receives gift:error */
      transactionId: string
    }
  }
  'gift:prepare': {
    request: {
      giftId: number
      recipientId: number | string
    }
    reply: {}
  }
}

/** Events of the feature `gifts`. */
export interface GiftsEvents {
  /** Sent to all members when a gift is accepted. The backend may still reject the gift. Clients must ignore a repeated transactionId */
  'gift:received': {
    roomId: string
    transactionId: string
    senderId: UserId
    giftId: number
    recipientId: UserId
    quantity: number
    timestamp: number
  }
  /** Sent to the recipient when a user is about to send a gift */
  'gift:prepare': {
    roomId: string
    senderId: UserId
    giftId: number
  }
  /** Sent to the sender when an accepted gift is not charged */
  'gift:error': {
    transactionId: string
    /** PROCESSING_FAILED, or a code of the backend (4002: the balance is too low) */
    code: number | string
    reason: string
  }
}

/** Requests of the feature `lobby`. */
export interface LobbyRequests {
  'lobby:list': {
    request: {
      /** The nextCursor of the previous page */
      cursor?: string | undefined
      limit?: number
    }
    reply: {
      rooms: {
        roomId: string
        ownerId: UserId
        participantCount: number
        /** Whether the room needs a PIN. Its `people` is empty then */
        isLocked: boolean
        createdAt: number
        /** Present if the feature seats is enabled */
        seatCount?: number | undefined
        /** Present if the feature seats is enabled */
        seated?: number | undefined
        /** Some members: those on seats first, then by time of joining */
        people: Profile[]
      }[]
      /** Cursor of the next page; null on the last page */
      nextCursor: string | null
    }
  }
}

/** Requests of the feature `media`. */
export interface MediaRequests {
  'transport:create': {
    request: {
      type: 'producer' | 'consumer'
    }
    reply: {
      id: string
      iceParameters: {
        [x: string]: unknown
      }
      iceCandidates: {
        [x: string]: unknown
      }[]
      dtlsParameters: {
        [x: string]: unknown
      }
    }
  }
  'transport:connect': {
    request: {
      transportId: string
      dtlsParameters: {
        role?: ('auto' | 'client' | 'server') | undefined
        fingerprints: {
          algorithm: 'sha-1' | 'sha-224' | 'sha-256' | 'sha-384' | 'sha-512'
          value: string
        }[]
      }
    }
    reply: {}
  }
  'transport:restartIce': {
    request: {
      transportId: string
    }
    reply: {
      iceParameters: {
        [x: string]: unknown
      }
    }
  }
  'audio:produce': {
    request: {
      transportId: string
      kind: 'audio'
      rtpParameters: {
        mid?: string | undefined
        codecs: {
          mimeType: string
          payloadType: number
          clockRate: 48000
          channels?: number | undefined
          parameters?: {
            [key: string]: number | string | boolean | null
          } | undefined
          rtcpFeedback?: {
            type: string
            parameter?: string | undefined
          }[] | undefined
        }[]
        headerExtensions?: {
          uri: 'urn:ietf:params:rtp-hdrext:sdes:mid' | 'urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id' | 'urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id' | 'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time' | 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01' | 'urn:ietf:params:rtp-hdrext:ssrc-audio-level' | 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension' | 'urn:3gpp:video-orientation' | 'http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time' | 'urn:ietf:params:rtp-hdrext:toffset' | 'http://www.webrtc.org/experiments/rtp-hdrext/playout-delay' | 'urn:mediasoup:params:rtp-hdrext:packet-id'
          id: number
          encrypt?: boolean | undefined
          parameters?: {
            [key: string]: number | string | boolean | null
          } | undefined
        }[] | undefined
        encodings: {
          ssrc: number
          codecPayloadType?: number | undefined
          dtx?: boolean | undefined
          maxBitrate?: number | undefined
        }[]
        rtcp?: {
          cname?: string | undefined
          reducedSize?: boolean | undefined
          mux?: boolean | undefined
        } | undefined
        msid?: string | undefined
      }
    }
    reply: {
      id: string
    }
  }
  'audio:closeProducer': {
    request: {
      producerId: string
    }
    reply: {}
  }
  'audio:selfMute': {
    request: {
      producerId: string
    }
    reply: {}
  }
  'audio:selfUnmute': {
    request: {
      producerId: string
    }
    reply: {}
  }
  'audio:consume': {
    request: {
      transportId: string
      producerId: string
      rtpCapabilities: {
        codecs: {
          kind: 'audio' | 'video'
          mimeType: string
          preferredPayloadType: number
          clockRate: number
          channels?: number | undefined
          parameters?: {
            [key: string]: number | string | boolean | null
          } | undefined
          rtcpFeedback?: {
            type: string
            parameter?: string | undefined
          }[] | undefined
        }[]
        headerExtensions?: {
          kind: 'audio' | 'video'
          uri: string
          preferredId: number
          preferredEncrypt?: boolean | undefined
          direction?: ('sendrecv' | 'sendonly' | 'recvonly' | 'inactive') | undefined
        }[] | undefined
      }
    }
    reply: {
      id: string
      producerId: string
      kind: 'audio'
      rtpParameters: {
        [x: string]: unknown
      }
    }
  }
  'consumer:resume': {
    request: {
      consumerId: string
    }
    reply: {
      /** The producer is paused. Audio starts when it resumes */
      deferred?: true | undefined
    }
  }
  'consumer:pause': {
    request: {
      consumerId: string
    }
    reply: {}
  }
}

/** Events of the feature `media`. */
export interface MediaEvents {
  /** Sent to the other members when a user starts to send audio */
  'audio:newProducer': {
    roomId: string
    producerId: string
    userId: UserId
    kind: 'audio'
  }
  /** Sent to the other members when a producer is closed */
  'audio:producerClosed': {
    roomId: string
    producerId: string
    userId: UserId
  }
  /** Sent to the other members when a producer is paused */
  'audio:producerPaused': {
    roomId: string
    producerId: string
    userId: UserId
  }
  /** Sent to the other members when a producer is resumed */
  'audio:producerResumed': {
    roomId: string
    producerId: string
    userId: UserId
  }
  /** Sent to the owner of a consumer when the consumer is closed */
  'consumer:closed': {
    roomId: string
    consumerId: string
  }
  /** Sent to all members when the active speakers change */
  'speaker:active': {
    roomId: string
    /** The loudest speaker */
    userId: UserId | null
    activeSpeakers: UserId[]
    timestamp: number
  }
  /** Sent to all members when the media worker of the room has died. Clients must recreate their transports, producers and consumers */
  'media:reset': {
    roomId: string
    reason: string
  }
}

/** What the feature `media` adds to the reply of room:join. */
export interface MediaJoinReply {
  rtpCapabilities: {
    [x: string]: unknown
  }
  existingProducers: {
    producerId: string
    userId: UserId
    isPaused: boolean
  }[]
  /** The active speakers. speaker:active reports changes */
  activeSpeakers: UserId[]
  /** As in session:ready, with new credentials. For clients that connected before the feature was enabled */
  iceServers: {
    urls: string | string[]
    username?: string | undefined
    credential?: string | undefined
  }[]
}

/** What the feature `media` adds to session:ready. */
export interface MediaGreeting {
  /** ICE servers for the RTCPeerConnection */
  iceServers: {
    urls: string | string[]
    username?: string | undefined
    credential?: string | undefined
  }[]
}

/** Requests of the feature `reactions`. */
export interface ReactionsRequests {
  'room:react': {
    request: {
      /** One of `reactions.emojis` in the reply to room:join */
      emoji: string
    }
    reply: {}
  }
}

/** Events of the feature `reactions`. */
export interface ReactionsEvents {
  'room:reaction': {
    roomId: string
    userId: UserId
    emoji: string
  }
  'room:reactions': {
    roomId: string
    /** Number of reactions per emoji since the last event */
    counts: {
      [key: string]: number
    }
  }
}

/** What the feature `reactions` adds to the reply of room:join. */
export interface ReactionsJoinReply {
  reactions: {
    emojis: string[]
  }
}

/** Requests of the feature `seats`. */
export interface SeatsRequests {
  'seat:take': {
    request: {
      seatIndex: number
    }
    reply: {
      seatIndex: number
    }
  }
  'seat:leave': {
    request: {}
    reply: {
      seatIndex: number
    }
  }
  'seat:lock': {
    request: {
      seatIndex: number
    }
    reply: {
      seatIndex: number
    }
  }
  'seat:unlock': {
    request: {
      seatIndex: number
    }
    reply: {
      seatIndex: number
    }
  }
  'seat:assign': {
    request: {
      userId: UserId
      seatIndex: number
    }
    reply: {
      seatIndex: number
    }
  }
  'seat:remove': {
    request: {
      userId: UserId
    }
    reply: {
      userId: UserId
    }
  }
  'seat:mute': {
    request: {
      userId: UserId
    }
    reply: {
      userId: UserId
    }
  }
  'seat:unmute': {
    request: {
      userId: UserId
    }
    reply: {
      userId: UserId
    }
  }
  'seat:invite': {
    request: {
      userId: UserId
      seatIndex: number
    }
    reply: {
      seatIndex: number
    }
  }
  'seat:invite:accept': {
    request: {
      /** Default: the latest invite */
      seatIndex?: number | undefined
    }
    reply: {
      seatIndex: number
    }
  }
  'seat:invite:decline': {
    request: {
      /** Default: the latest invite */
      seatIndex?: number | undefined
    }
    reply: {
      seatIndex: number
    }
  }
  'seat:request': {
    request: {}
    reply: {}
  }
  'seat:request:cancel': {
    request: {
      /** Default: the sender. Another user: owner and admins only */
      userId?: UserId | undefined
    }
    reply: {}
  }
}

/** Events of the feature `seats`. */
export interface SeatsEvents {
  /** Sent to all members when a user takes a seat */
  'seat:updated': {
    roomId: string
    seatIndex: number
    userId: UserId
    isMuted: boolean
  }
  /** Sent to all members when a seat becomes free */
  'seat:cleared': {
    roomId: string
    seatIndex: number
    /** The previous occupant */
    userId: UserId
    reason: 'left' | 'removed' | 'moved' | 'locked' | 'disconnected'
  }
  /** Sent to all members when a seat is locked or unlocked */
  'seat:locked': {
    roomId: string
    seatIndex: number
    isLocked: boolean
  }
  /** Sent to all members when the mute state of a seated user changes */
  'seat:userMuted': {
    roomId: string
    userId: UserId
    /** Muted by the owner or an admin */
    isMuted: boolean
    selfMuted: boolean
  }
  /** Sent to all members when an invite to a seat is created or ends */
  'seat:invite:pending': {
    roomId: string
    seatIndex: number
    isPending: boolean
    invitedUserId?: UserId | undefined
  }
  /** Sent to the invited user */
  'seat:invite:received': {
    roomId: string
    seatIndex: number
    invitedById: UserId
    /** Epoch milliseconds */
    expiresAt: number
  }
  /** Sent after a change: to the owner and admins with all seat requests, to the requesting member with their own */
  'seat:requests': {
    roomId: string
    /** Oldest first. The owner and admins receive all requests, other members only their own */
    requests: {
      userId: UserId
      /** Epoch milliseconds */
      requestedAt: number
    }[]
  }
  /** Sent to all members when the number of seats changes */
  'seat:count': {
    roomId: string
    seatCount: number
  }
}

/** Fields of the feature `seats` in the request of room:join. */
export interface SeatsJoinRequest {
  /** Applies only when the join creates the room */
  seatCount?: number
}

/** What the feature `seats` adds to the reply of room:join. */
export interface SeatsJoinReply {
  seatCount: number
  seats: {
    seatIndex: number
    userId: UserId
    isMuted: boolean
  }[]
  lockedSeats: number[]
  pendingInvites: {
    seatIndex: number
    invitedUserId: UserId
    invitedById: UserId
    /** Epoch milliseconds */
    expiresAt: number
  }[]
  /** Oldest first. The owner and admins receive all requests, other members only their own */
  seatRequests: {
    userId: UserId
    /** Epoch milliseconds */
    requestedAt: number
  }[]
}

/** All requests, by type: what they carry, and what the reply to them does. An interface, so that a program can add those of other features. */
export interface Requests extends CoreRequests, ChatRequests, GiftsRequests, LobbyRequests, MediaRequests, ReactionsRequests, SeatsRequests {}

/** All events, by type. Others can be added, too. */
export interface Events extends CoreEvents, ChatEvents, GiftsEvents, MediaEvents, ReactionsEvents, SeatsEvents {}

/** Fields of features in the request of room:join, each while the feature is on. */
export interface JoinRequestAdditions extends Partial<SeatsJoinRequest> {}

/** What features add to the reply of room:join, each while it is on. */
export interface JoinAdditions extends Partial<ChatJoinReply>, Partial<MediaJoinReply>, Partial<ReactionsJoinReply>, Partial<SeatsJoinReply> {}

/** What features add to session:ready, each while it is on. */
export interface GreetingAdditions extends Partial<MediaGreeting> {}

/** The codes with which the server refuses. */
export type ErrorCode =
  | 'ALREADY_SEATED'
  | 'BACKEND_FAILED'
  | 'BANNED'
  | 'CANNOT_CONSUME'
  | 'CANNOT_TARGET_SELF'
  | 'CONSUMER_NOT_FOUND'
  | 'DEPENDENCY_DISABLED'
  | 'DRAINING'
  | 'EMOJI_NOT_ALLOWED'
  | 'FEATURE_DISABLED'
  | 'FEATURE_IN_USE'
  | 'FEATURE_LOAD_FAILED'
  | 'FEATURE_NOT_FOUND'
  | 'FORBIDDEN'
  | 'INTERNAL'
  | 'INVITE_NOT_FOUND'
  | 'INVITE_PENDING'
  | 'KEY_REUSED'
  | 'NOT_FOUND'
  | 'NOT_IN_ROOM'
  | 'NOT_SEATED'
  | 'ORIGIN_NOT_ALLOWED'
  | 'OVERLOADED'
  | 'PIN_REQUIRED'
  | 'PIN_WRONG'
  | 'PRODUCER_LIMIT'
  | 'PRODUCER_NOT_FOUND'
  | 'RATE_LIMITED'
  | 'ROOM_FULL'
  | 'ROOM_NOT_FOUND'
  | 'SEAT_ALREADY_LOCKED'
  | 'SEAT_INVALID'
  | 'SEAT_LOCKED'
  | 'SEAT_NOT_LOCKED'
  | 'SEAT_REQUESTS_FULL'
  | 'SEAT_REQUEST_NOT_FOUND'
  | 'SEAT_TAKEN'
  | 'TOO_MANY_CONNECTIONS'
  | 'TRANSPORT_ALREADY_CONNECTED'
  | 'TRANSPORT_NOT_FOUND'
  | 'TRANSPORT_WRONG_TYPE'
  | 'UNAUTHORIZED'
  | 'UNAVAILABLE'
  | 'UNKNOWN_TYPE'
  | 'UPGRADE_REQUIRED'
  | 'VALIDATION_FAILED'

/** The codes with which the server closes a connection, by the reason it gives. */
export interface CloseCodes {
  SHUTTING_DOWN: 1001
  UNSUPPORTED_DATA: 1003
  MESSAGE_TOO_BIG: 1009
  OVERLOADED: 1013
  UNAUTHORIZED: 4401
  KICKED: 4403
  REPLACED: 4409
  TOO_SLOW: 4410
  FLOODING: 4429
}
