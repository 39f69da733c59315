// All strings that the pages show. Translators need only this file, the titles in the HTML files, and the server
// messages that this file does not replace.

const seconds = (ms: number) => Math.ceil(ms / 1000)
const people = (count: number) => count === 1 ? '1 person' : `${count} people`

export const strings = {
  product: 'FlyLive',
  somebody: 'Someone',
  you: 'you',
  close: 'Close',
  cancel: 'Cancel',
  people,

  lobby: {
    title: 'Rooms',
    lead: 'Live audio rooms. Join one, listen, take a seat and talk.',
    about: 'Your profile',
    name: 'Your name',
    nameHelp: 'A name needs at least one character that is not a space.',
    colour: 'Avatar colour',
    colours: ['Indigo', 'Sky', 'Teal', 'Green', 'Amber', 'Orange', 'Red', 'Pink'],
    token: 'Access token',
    tokenHelp: 'This server does not allow guests. Get a token from your backend.',
    tokenOrigin: 'Your backend creates this token.',
    rooms: 'Active rooms',
    noRooms: 'No active rooms. Open the first one.',
    noList: 'This server does not list its rooms. Enter a room name to join.',
    loading: 'Loading rooms…',
    more: 'Show more rooms',
    speaking: (count: number) => count === 0 ? 'No speakers' : count === 1 ? '1 speaker' : `${count} speakers`,
    locked: 'Locked',
    open: 'Join or open a room',
    room: 'Room',
    roomHelp: 'Letters, digits and . : _ -. A new name opens a new room.',
    options: 'More options',
    pin: 'PIN',
    pinHelp: 'Sets the PIN of a room that you open. To join a locked room, enter its PIN.',
    seats: 'Seats (new rooms only)',
    roomTitle: 'Title (new rooms only)',
    find: 'Search rooms',
    noneFound: 'No rooms found.',
    host: (name: string) => `Host: ${name}`,
    join: 'Join',
    joinRoom: (room: string) => `Join ${room}`
  },

  listen: {
    pageTitle: (title: string) => `${title} – live`,
    loading: 'Connecting…',
    ready: 'On air',
    playing: 'On air',
    paused: 'Paused',
    off: 'Not on air. Playback starts when the room goes on air.',
    reconnecting: 'Reconnecting…',
    failed: 'This browser cannot play the broadcast.',
    host: (name: string) => `Host: ${name}`,
    speaking: (names: readonly string[]) => names.length === 0 ? 'Nobody is speaking' : `Speaking: ${names.join(', ')}`,
    play: 'Listen',
    pause: 'Pause',
    join: 'Join the room',
    pin: 'PIN-protected',
    pinLabel: 'PIN',
    pinHelp: 'The host has protected this broadcast with a PIN.',
    pinWrong: 'The PIN is wrong.',
    pinTries: 'Too many wrong PINs. Try again in a minute.',
    unlock: 'Open',
    locked: 'The room is locked.',
    delay: (seconds: number) => `${seconds.toFixed(1)} s behind the room`
  },

  broadcast: {
    title: 'Broadcast',
    warning: 'Anyone with the link can listen, without an account and without appearing in the room. If the room has a PIN, listeners need it.',
    running: 'The room is on air. Anyone with the link can listen. If the room has a PIN, listeners need it.',
    link: 'Link for listeners',
    start: 'Go live now',
    stop: 'End broadcast'
  },

  microphone: {
    title: 'Microphone',
    check: 'Test microphone',
    stop: 'Stop test',
    device: 'Device',
    standard: 'Default device',
    last: 'Last used',
    level: 'Input level',
    speak: 'Say something. The bar should move.',
    heard: 'Your microphone works.',
    original: 'Original sound',
    originalHelp: 'For music. Turns off noise and echo reduction. Use headphones.',
    refused: 'Your browser blocks the microphone. Allow the microphone with the icon next to the address bar, then try again.',
    missing: 'No microphone found. Connect one, then try again.',
    busy: 'The microphone is unavailable. Another app may be using the microphone.',
    insecure: 'Browsers allow microphone access only on https or localhost. Open this page with https.',
    unsupported: 'This browser does not support microphone access. Try a current version of Chrome, Firefox or Safari.',
    listening: 'For now, you can only listen.',
    gone: 'Microphone disconnected. You can only listen.',
    replaced: 'Microphone disconnected. Using another one.',
    retry: 'Try again'
  },

  status: {
    connecting: 'Connecting…',
    connectingAudio: 'Connecting audio…',
    audioFailed: (why: string) => `No audio: ${why}. Retrying…`,
    back: 'Reconnecting…',
    waiting: (why: string) => `${why}. Reconnecting…`,
    noAudio: 'Connected, no audio',
    listening: 'Connected, listening',
    listeningToMix: 'Connected, listening to the mix',
    mutedByHost: 'Connected, muted by the host',
    interrupted: 'Connected, microphone paused by your device',
    connected: 'Connected',
    /** @param ms time until the shutdown; undefined if it cannot be calculated because this device's clock is wrong */
    draining: (ms: number | undefined) => `This server will shut down ${ms === undefined ? 'soon' : `in ${seconds(ms)} seconds`}. You will be moved to another server.`
  },

  quality: {
    title: 'Connection',
    button: (rating: string) => `Connection: ${rating.toLowerCase()}. Show details`,
    good: 'Good',
    fair: 'Fair',
    poor: 'Poor',
    unknown: 'Not measured yet',
    failed: 'No audio',
    explain: {
      good: 'Audio arrives on time.',
      fair: 'Some packets are late or lost. You may hear short gaps.',
      poor: 'Many packets are late or lost. Try a better network or move closer to the Wi-Fi router.',
      unknown: 'The connection is measured when audio plays.'
    },
    received: 'Received',
    sent: 'Sent',
    loss: 'Lost packets',
    jitter: 'Jitter',
    roundTrip: 'Round trip',
    rate: 'Data rate',
    concealed: 'Concealed audio',
    packets: 'Packets',
    route: 'Route',
    reconnects: 'Reconnects',
    tried: 'Addresses tried',
    nothing: '–'
  },

  room: {
    onAir: 'On air',
    goLive: 'Go live',
    broadcast: 'Broadcast',
    leave: 'Leave',
    share: 'Share',
    shared: 'Link copied.',
    shareHere: 'Link to this room',
    views: 'Room views',
    viewRoom: 'Room',
    viewChat: 'Chat',
    unread: (count: number) => `${count} new`,
    seats: 'Seats',
    people: 'In the room',
    more: 'Show more people',
    find: 'Search people',
    controls: 'Your controls',
    listening: (count: number) => `${count} listening`,
    roles: { owner: 'Host', admin: 'Moderator' },
    handRaised: 'Hand raised',
    locked: 'Locked',
    newHost: (name: string) => `${name} is now the host.`,
    doing: { speaking: 'speaking', live: 'microphone on', muted: 'muted', silent: 'microphone off', listening: 'listening', connecting: 'connecting' },
    record: 'Record',
    stopRecording: 'Stop recording',
    recorded: 'Recording',
    recordedHelp: 'This room is being recorded.',
    recordingStarted: 'The room is now being recorded.',
    recordingStopped: 'The recording has ended.',
    soundBlocked: 'Your browser blocks audio until you click a button.',
    soundOn: 'Turn on sound'
  },

  seat: {
    number: (seat: number) => `Seat ${seat}`,
    take: (seat: number) => `Take seat ${seat}`,
    own: (seat: number) => `Seat ${seat}: you`,
    taken: (seat: number, name: string) => `Seat ${seat}: ${name}`,
    invited: (name: string) => `${name} is invited`,
    locked: (seat: number) => `Seat ${seat} is locked`,
    comingBack: 'Reconnecting user',
    free: 'Free',
    lockedShort: 'Locked',
    options: (seat: number) => `Options for seat ${seat}`,
    lock: (seat: number) => `Lock seat ${seat}`,
    unlock: (seat: number) => `Unlock seat ${seat}`,
    invite: 'Invite someone',
    assign: 'Invite or assign someone',
    put: 'Assign',
    nobody: 'No listeners to invite.',
    leave: 'Leave seat',
    speak: 'Speak',
    stop: 'Stop speaking',
    mute: 'Mute',
    unmute: 'Unmute',
    mutedByHost: 'Muted by the host',
    useMicrophone: 'Turn on microphone',
    noneFree: 'No free seat. You can only listen.',
    gone: 'You were removed from your seat. You can only listen.',
    none: (why: string) => `Could not take a seat: ${why}. You can only listen.`
  },

  hands: {
    raise: 'Raise hand',
    lower: 'Lower hand',
    title: 'Raised hands',
    raised: 'Hand raised. The host can see it.',
    invite: (name: string) => `Invite ${name} to a seat`,
    dismiss: (name: string) => `Lower ${name}’s hand`,
    inviteShort: 'Invite',
    dismissShort: 'Lower'
  },

  invitation: {
    text: (seat: number) => `You are invited to take seat ${seat}.`,
    accept: 'Accept',
    decline: 'Decline'
  },

  person: {
    open: (name: string) => `Actions for ${name}`,
    mute: (name: string) => `Mute ${name}`,
    unmute: (name: string) => `Unmute ${name}`,
    remove: (name: string) => `Remove ${name} from the seat`,
    invite: (name: string) => `Invite ${name} to a seat`,
    invited: (name: string) => `${name} is invited`,
    assign: (name: string) => `Assign ${name} to a seat`,
    seat: 'Seat',
    put: 'Assign',
    noneFree: 'No free seat.',
    volume: (name: string) => `Volume of ${name}`,
    noVolume: 'You hear the mix. To set the volume of one person, choose Voices under Sound.',
    kick: 'Remove from room',
    return: 'May join again',
    bans: [[0, 'Immediately'], [600, 'In 10 minutes'], [3600, 'In 1 hour'], [86_400, 'Tomorrow'], [2_592_000, 'In 30 days']] as readonly (readonly [number, string])[],
    promote: (name: string) => `Make ${name} a moderator`,
    demote: (name: string) => `Remove ${name} as moderator`,
    transfer: (name: string) => `Make ${name} the host`,
    transferSure: (name: string) => `Hand the room over to ${name}?`
  },

  sound: {
    title: 'Sound',
    heard: 'What you hear',
    modes: { auto: 'Automatic', voices: 'Voices', mix: 'Mix' },
    help: {
      auto: 'You hear the voices in small rooms and while you have a seat. Otherwise, you hear the mix.',
      voices: 'Each person separately, with their own volume.',
      mix: 'Everyone in one stream. Uses less data and battery. If you speak, you also hear yourself.'
    },
    now: {
      voices: 'You now hear the voices.',
      mix: 'You now hear the mix.',
      nothing: 'You do not hear anything yet.'
    },
    mixVolume: 'Volume of the mix',
    speaker: 'Speaker',
    speakerFailed: 'Cannot use this speaker.',
    music: 'Music',
    musicHelp: 'Plays an audio file from this device to everyone in the room.',
    musicNeedsSeat: 'To play music to everyone, take a seat.',
    shareMusic: 'Share music',
    stopMusic: 'Stop music',
    sharing: (file: string) => `Sharing ${file}`,
    playing: 'music',
    musicFailed: 'Cannot play this file.'
  },

  host: {
    open: 'Room settings',
    title: 'Room settings',
    name: 'Title',
    topic: 'Topic',
    save: 'Save',
    saved: 'Saved.',
    pin: 'PIN for new people',
    pinHelp: 'If you lock the room without a PIN, nobody else can join.',
    lock: 'Lock room',
    lockAgain: 'Change lock',
    unlock: 'Unlock room',
    lockedToAll: 'Locked. Nobody else can join.',
    lockedWithPin: 'Locked. New people need the PIN.',
    unlocked: 'Unlocked. Everyone can join.',
    slowMode: 'Slow mode',
    slowModes: [[0, 'Off'], [5, '5 seconds'], [15, '15 seconds'], [30, '30 seconds'], [60, '1 minute'], [300, '5 minutes']] as readonly (readonly [number, string])[],
    slowModeOf: (seconds: number) => `${seconds} seconds`,
    muteAll: 'Mute everyone',
    muted: (count: number) => count === 0 ? 'Nobody was muted.' : count === 1 ? '1 person muted.' : `${count} people muted.`,
    bans: 'Banned people',
    banned: (name: string, userId: string) => name === strings.somebody ? userId : `${name} (${userId})`,
    unban: 'Unban',
    unbanOf: (userId: string) => `Unban ${userId}`,
    end: 'End room',
    endSure: 'End the room for everyone?'
  },

  chat: {
    title: 'Chat',
    message: 'Message',
    placeholder: 'Message everyone',
    send: 'Send',
    empty: 'No messages yet.',
    newer: 'New messages',
    delete: 'Delete message',
    deleteOf: (name: string) => `Delete message from ${name}`,
    slowMode: (seconds: number) => seconds === 0 ? 'Slow mode is off.' : `Slow mode: one message every ${seconds} seconds.`
  },

  gifts: {
    give: (name: string) => `Gift for ${name}`,
    quantity: 'How many',
    send: 'Send gift',
    names: { 1: 'Rose', 2: 'Coffee', 3: 'Star', 4: 'Rocket', 5: 'Crown' } as Readonly<Record<number, string>>,
    unknown: 'Gift',
    given: (sender: string, recipient: string, gift: string, quantity: number) =>
      `${sender} gave ${recipient} ${quantity === 1 ? `a ${gift.toLowerCase()}` : `${quantity} × ${gift}`}`,
    failed: (reason: string) => `Your gift was not sent: ${reason}`,
    total: (count: number) => count === 1 ? '1 gift so far' : `${count} gifts so far`,
    totalOf: (name: string, count: number) => `${name} received ${count === 1 ? '1 gift' : `${count} gifts`}`
  },

  reactions: {
    open: 'React',
    choose: 'Choose a reaction',
    react: (emoji: string) => `React with ${emoji}`,
    came: (counts: readonly (readonly [emoji: string, count: number])[]) => counts.map(([emoji, count]) => count === 1 ? emoji : `${count} × ${emoji}`).join(', ')
  },

  /** Texts that replace server messages unsuitable for end users, such as messages that count seats from zero. */
  refusals: {
    SEAT_TAKEN: 'This seat was just taken',
    SEAT_LOCKED: 'This seat is locked',
    INVITE_PENDING: 'Someone is already invited to this seat',
    RATE_LIMITED: 'Too many requests. Wait a moment',
    NOT_CONNECTED: 'Not connected. Try again in a moment',
    CONNECTION_LOST: 'The connection was lost. Try again',
    BITRATE_EXCEEDED: 'The bit rate of your audio was too high',
    FEATURE_DISABLED: 'This feature is turned off',
    UNREACHABLE: 'The server cannot be reached',
    PIN_REQUIRED: 'This room is locked. Enter the PIN',
    PIN_WRONG: 'Wrong PIN',
    ROOM_FULL: 'This room is full',
    ROOM_LOCKED: 'This room is locked. Nobody else can join',
    BANNED: 'You are banned from this room',
    ROOM_CLOSED: 'The room was closed'
  } as Readonly<Record<string, string>>,
  /** Reasons for missing audio. */
  audioFailures: {
    ice: 'the media server cannot be reached',
    turn: 'the media server cannot be reached, and the TURN server rejected you',
    dtls: 'the encrypted connection failed',
    server: 'the server rejected the audio connection'
  },
  /** Reasons for a lost or failed connection. */
  trouble: {
    CONNECTION_LOST: 'Connection lost',
    UNREACHABLE: 'The server cannot be reached',
    REFUSED: 'The server rejected the connection',
    TIMEOUT: 'The server does not respond',
    ORIGIN_NOT_ALLOWED: 'The server does not allow connections from this address',
    OVERLOADED: 'The server is full',
    DRAINING: 'The server is restarting',
    UNAVAILABLE: 'The server is temporarily unavailable',
    TOO_MANY_CONNECTIONS: 'Too many connections. Close other windows of this page',
    TOKEN_UNAVAILABLE: 'Could not sign in',
    CONNECTION_INVALID: 'The address or the token is malformed',
    UNAUTHORIZED: 'You are not signed in',
    KICKED: 'You were removed from the room',
    REPLACED: 'You connected from another device'
  } as Readonly<Record<string, string>>,
  noSession: 'The server did not create a session'
}

const seat = (index: number) => `Seat ${index + 1}`
const counted = (count: number, one: string, many: string) => count === 1 ? `1 ${one}` : `${count.toLocaleString('en')} ${many}`
const names = (list: readonly string[]) => list.join(', ')
const duration = (ms: number) => {
  const steps = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1000, 's']] as const
  const [length, unit] = steps.find(([length]) => ms >= length) ?? [1000, 's'] as const
  return `${Math.max(0, Math.floor(ms / length))} ${unit}`
}

/** The strings of the admin page. */
export const adminStrings = {
  product: 'FlyLive admin',
  title: (place: string) => `${place} · FlyLive admin`,
  sections: { rooms: 'Rooms', features: 'Features', gifts: 'Gifts', charts: 'Charts' },
  navigation: 'Sections',
  toStage: 'Back to the stage',
  more: 'Show more',
  dismiss: 'Dismiss',
  loading: 'Loading…',
  nothing: '–',
  yes: 'Yes',
  no: 'No',
  duration,
  ago: (ms: number) => ms < 1000 ? 'just now' : `${duration(ms)} ago`,
  of: (shown: number, total: number) => `${shown.toLocaleString('en')} of ${total.toLocaleString('en')}`,
  unreachable: 'The server cannot be reached. Retrying…',

  key: {
    title: 'Admin key',
    lead: 'This page is for server administrators. Enter one of the keys in ADMIN_API_KEY. The key is stored only in this tab, until you close the tab.',
    field: 'Admin key',
    enter: 'Enter',
    checking: 'Checking…',
    forget: 'Forget key',
    forgotten: 'Key removed.',
    missing: 'Enter a key.',
    wrong: 'Wrong key.',
    refused: 'The server no longer accepts this key. Enter a valid key.',
    none: 'This server has no admin key. Set ADMIN_API_KEY and restart the server.',
    locked: (ms: number) => `Too many wrong keys from your address. Try again in ${duration(ms)}.`
  },

  server: {
    title: 'Server',
    node: 'Node',
    version: 'Version',
    uptime: 'Uptime',
    ready: 'Ready',
    notReady: (checks: readonly string[]) => `Not ready: ${names(checks)}`,
    nodes: 'All servers',
    load: ({ state, connections, workersCpu }: { state: 'ready' | 'cordon' | 'drain', connections: number, workersCpu: readonly number[] }) =>
      `${{ ready: '', cordon: 'no new rooms, ', drain: 'draining, ' }[state]}${counted(connections, 'connection', 'connections')}, media CPU ${Math.round(100 * workersCpu.reduce((sum, cpu) => sum + cpu, 0) / Math.max(workersCpu.length, 1))} %`,
    draining: 'This server is draining. It accepts no new connections or rooms.',
    drain: 'Drain this server',
    drainText: 'The server accepts no new connections or rooms and asks connected clients to move to another server. This cannot be undone; restart the server to accept connections again.',
    deadline: 'Seconds until the deadline',
    deadlineHelp: '0 to 3600. Clients that are still connected at the deadline stay connected until the server stops.',
    deadlineWrong: 'Enter a number from 0 to 3600.',
    drainConfirm: 'Drain',
    drainBegun: (seconds: number) => `Draining for up to ${counted(seconds, 'second', 'seconds')}.`,
    drained: 'The server is empty.',
    deadlineOver: (sessions: number) => `Deadline passed with ${counted(sessions, 'connection', 'connections')} left.`
  },

  rooms: {
    caption: 'Rooms on all servers',
    room: 'Room',
    owner: 'Owner',
    people: 'People',
    seated: 'Seated',
    producers: 'Producers',
    age: 'Age',
    activity: 'Last activity',
    filter: 'Filter by room or owner',
    listed: (count: number) => counted(count, 'room', 'rooms'),
    more: 'The filter applies only to the rooms listed here.',
    none: 'No active rooms.',
    noneFits: 'No matching rooms.',
    open: (id: string) => `Open room ${id}`
  },

  onAir: {
    title: (count: number) => `On air (${count})`,
    caption: 'Rooms on air',
    room: 'Room',
    node: 'Server',
    listeners: 'Listeners',
    delay: 'Delay',
    restarts: 'Restarts',
    age: 'On air for',
    encrypted: 'encrypted',
    /** @param ms can be negative if the clocks of the servers differ */
    milliseconds: (ms: number) => `${(Math.max(0, ms) / 1000).toFixed(1)} s`,
    note: 'Only listeners whose requests reach the servers are counted. If you use a cache or CDN, see its statistics instead. The delay is measured from the mixer to the playlist.'
  },

  room: {
    title: (id: string) => `Room ${id}`,
    back: 'All rooms',
    gone: 'Room not found. The room appears here once someone creates it.',
    facts: 'Details',
    owner: 'Owner',
    people: 'People',
    pin: 'PIN required',
    worker: 'Media worker',
    noWorker: 'No audio',
    peopleTitle: 'People',
    name: 'Name',
    id: 'Id',
    seat: 'Seat',
    audio: 'Audio',
    actions: 'Actions',
    isOwner: 'Owner',
    speaking: 'microphone on',
    paused: 'muted',
    nobody: 'No people in the room.',
    somePeople: (shown: number, total: number) => `Showing ${shown.toLocaleString('en')} of ${total.toLocaleString('en')}.`,
    kick: 'Kick',
    kickUser: (name: string) => `Kick ${name}`,
    close: 'Close room'
  },

  media: {
    title: 'Transports',
    user: 'User',
    type: 'Direction',
    types: { producer: 'sends', consumer: 'receives' } as Readonly<Record<string, string>>,
    ice: 'ICE',
    dtls: 'DTLS',
    none: 'No audio connections on this server.'
  },

  seats: {
    title: 'Seats',
    off: 'The seats feature is off.',
    number: seat,
    seat: 'Seat',
    who: 'Occupant',
    state: 'State',
    free: 'Free',
    locked: 'locked',
    muted: 'muted by a host',
    selfMuted: 'muted',
    away: 'reconnecting',
    invited: (user: string) => `${user} is invited`,
    hands: 'Raised hands',
    count: 'Number of seats',
    change: 'Change',
    changed: (count: number) => `The room now has ${counted(count, 'seat', 'seats')}.`
  },

  close: {
    title: (room: string) => `Close ${room}`,
    text: 'Everyone is removed and the room is deleted.',
    reason: 'Reason sent to clients',
    reasonHelp: 'Default: closed_by_admin',
    confirm: 'Close the room',
    done: (room: string) => `Room ${room} closed.`
  },

  kick: {
    title: (name: string) => `Kick ${name}`,
    text: (room: string) => `Closes the user’s connections in ${room}.`,
    ban: 'Ban',
    bans: [[0, 'No'], [600, 'For 10 minutes'], [3600, 'For an hour'], [86_400, 'For a day'], [604_800, 'For a week'], [2_592_000, 'For 30 days']] as readonly (readonly [number, string])[],
    confirm: 'Kick',
    done: (name: string) => `${name} was kicked.`,
    banned: (name: string, seconds: number) => `${name} was kicked and banned for ${duration(seconds * 1000)}.`
  },

  unban: {
    title: 'Remove a ban',
    user: 'User ID',
    confirm: 'Remove ban',
    done: (user: string, room: string) => `${user} can join ${room} again.`
  },

  user: {
    title: 'Look up a user',
    id: 'User ID',
    find: 'Look up',
    caption: (id: string) => `Connections of ${id}`,
    nowhere: (id: string) => `${id} is not connected to any server.`,
    session: 'Session',
    node: 'Server',
    room: 'Room',
    since: 'Connected',
    seat: (index: number) => `Has ${seat(index).toLowerCase()}.`
  },

  features: {
    lead: 'Changes apply to all servers immediately. Reloading a feature does not interrupt audio.',
    rescan: 'Rescan',
    rescanned: (added: readonly string[], removed: readonly string[]) =>
      added.length + removed.length === 0 ? 'No features added or removed.' : [added.length > 0 ? `Added: ${names(added)}.` : '', removed.length > 0 ? `Removed: ${names(removed)}.` : ''].join(' ').trim(),
    unreadable: (failed: readonly string[]) => `Failed to load: ${names(failed)}.`,
    states: { enabled: 'on', disabled: 'off', failed: 'failed' },
    version: (version: string, generation: number) => generation === 0 ? `Version ${version}` : `Version ${version}, generation ${generation}`,
    generation: (generation: number) => `Generation ${generation}`,
    loaded: (ago: string) => `Loaded ${ago}`,
    needs: (features: readonly string[]) => `Needs ${names(features)}`,
    lastError: 'The last change failed',
    whyFailed: 'Error',
    contents: (messages: number, routes: number) =>
      [messages > 0 ? counted(messages, 'message', 'messages') : '', routes > 0 ? counted(routes, 'route', 'routes') : ''].filter((part) => part !== '').join(', '),
    contentsOf: (name: string) => `Messages and routes of ${name}`,
    messages: 'Messages',
    routes: 'Routes',
    enable: 'Turn on',
    disable: 'Turn off',
    reload: 'Reload',
    settings: 'Settings',
    label: (action: string, name: string) => `${action}: ${name}`,
    done: {
      enable: (name: string) => `${name} is on.`,
      disable: (name: string) => `${name} is off.`,
      reload: (name: string, generation: number) => `${name} reloaded (generation ${generation}).`
    },
    also: (features: readonly string[]) => `Also: ${names(features)}.`
  },

  toggle: {
    enable: (name: string) => `Turn ${name} on`,
    disable: (name: string) => `Turn ${name} off`,
    disableText: 'All servers will reject the messages of this feature, for all users.',
    disableStage: 'This feature serves this page. The page works until you reload it. After a reload, you can turn stage on again only from the command line.',
    inUse: (features: readonly string[]) => `Required by ${names(features)}.`,
    needs: (features: readonly string[]) => `Requires ${names(features)}, which ${features.length === 1 ? 'is' : 'are'} off.`,
    withThose: { enable: 'Turn on all', disable: 'Turn off all' }
  },

  config: {
    title: (name: string) => `Settings of ${name}`,
    text: 'All servers reload the feature with these settings. Empty fields use the default.',
    save: 'Save',
    saved: (name: string) => `Settings of ${name} saved.`,
    unchanged: 'No changes.',
    standard: 'Default',
    standardIs: (value: string) => `Default: ${value}`,
    on: 'On',
    off: 'Off',
    lines: 'One per line',
    json: 'JSON',
    range: (least: number | undefined, most: number | undefined) =>
      least === undefined ? most === undefined ? '' : `At most ${most}` : most === undefined ? `At least ${least}` : `${least} to ${most}`,
    notANumber: 'Enter a number.',
    notInRange: (range: string) => `Enter a number: ${range.toLowerCase()}.`,
    notJson: 'Invalid JSON.'
  },

  gifts: {
    off: 'The gifts feature is off.',
    toFeatures: 'Go to features',
    counts: { queued: 'Waiting', deadLetters: 'Dead letters', failed: 'Rejected', ledger: 'Recorded' },
    title: 'Dead letters',
    lead: 'All retries of these gifts failed. You can retry the gifts here.',
    none: 'No dead letters.',
    transaction: 'Transaction',
    room: 'Room',
    sender: 'From',
    recipient: 'To',
    gift: 'Gift',
    giftOf: (gift: number, quantity: number) => quantity === 1 ? `${gift}` : `${quantity} × ${gift}`,
    reason: 'Reason',
    tries: 'Attempts',
    died: 'Failed at',
    choose: (transaction: string) => `Select ${transaction}`,
    replayChosen: (count: number) => count === 0 ? 'Retry selected' : `Retry ${counted(count, 'selected gift', 'selected gifts')}`,
    replayAll: 'Retry all',
    confirmAll: (count: number) => `Retry ${counted(count, 'dead letter', 'dead letters')}?`,
    confirmText: 'The server sends each gift to the backend again. Gifts that were already charged are not charged twice.',
    replayed: (count: number) => count === 0 ? 'Nothing to retry.' : `Retrying ${counted(count, 'gift', 'gifts')}.`
  },

  charts: {
    lead: 'This server, last 3 minutes.',
    titles: {
      people: 'Connections',
      rooms: 'Rooms',
      audio: 'Rooms with audio',
      messages: 'Messages per second',
      delay: 'Event loop delay',
      cpu: 'CPU of the server'
    },
    help: {
      people: 'Open WebSockets',
      rooms: 'With members on this server',
      audio: 'On all media workers',
      messages: 'Client requests, accepted or rejected',
      delay: '99th percentile; below 10 ms is normal',
      cpu: 'Percent of one core, without the media workers'
    },
    units: { count: '', milliseconds: 'ms', percent: '%' },
    range: (least: string, most: string) => `${least} to ${most}`,
    summary: (title: string, now: string, least: string, most: string) => `${title}: now ${now}, minimum ${least}, maximum ${most} in the last 3 minutes`,
    waiting: (title: string) => `${title}: no data yet`,
    missing: 'Not available on this server.',
    start: '3 min ago',
    end: 'now'
  },

  /** Messages for error codes whose server message is too general for this page. */
  refusals: {
    UNREACHABLE: 'The server cannot be reached. Your change may have been applied. Check before you retry.',
    UNREADABLE: 'The server sent an invalid response.',
    UNAUTHORIZED: 'The server rejected the key.',
    ROOM_NOT_FOUND: 'Room not found.',
    INTERNAL: 'Internal server error. See the server log.'
  } as Readonly<Record<string, string>>,
  tooMany: (ms: number) => `Too many requests from your address. Try again in ${duration(Math.max(ms, 1000))}.`
}
