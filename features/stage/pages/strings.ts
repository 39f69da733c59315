// Every word that the pages show. Who translates them needs no other file, but
// for the titles in the two HTML files and for what only a server says.

const seconds = (ms: number) => Math.ceil(ms / 1000)
const people = (count: number) => count === 1 ? '1 person' : `${count} people`

export const strings = {
  product: 'FlyLive',
  somebody: 'Somebody',
  you: 'you',
  close: 'Close',
  cancel: 'Cancel',
  people,

  lobby: {
    title: 'Rooms',
    lead: 'Live audio rooms. Come in, listen, take a seat and talk.',
    about: 'About you',
    name: 'Your name',
    colour: 'Colour of your avatar',
    colours: ['Indigo', 'Sky', 'Teal', 'Green', 'Amber', 'Orange', 'Red', 'Pink'],
    token: 'Access token',
    tokenHelp: 'This server signs no guests in. Your backend gives you a token.',
    rooms: 'Rooms with people in them',
    noRooms: 'Nobody is in a room now. Open the first one.',
    noList: 'This server does not list its rooms. Enter one by its name.',
    loading: 'Looking for rooms …',
    more: 'Show more rooms',
    speaking: (count: number) => count === 0 ? 'Nobody on a seat' : count === 1 ? '1 on a seat' : `${count} on seats`,
    locked: 'A pin is needed',
    open: 'Join or open a room',
    room: 'Room',
    roomHelp: 'Letters, digits and . : _ -. A room that is not there yet is opened.',
    options: 'More options',
    pin: 'Pin',
    pinHelp: 'Locks a room that you open; needed where a room is locked.',
    seats: 'Seats, when you open it',
    join: 'Join',
    joinRoom: (room: string) => `Join ${room}`
  },

  microphone: {
    title: 'Microphone',
    check: 'Check the microphone',
    stop: 'Stop the check',
    device: 'Device',
    standard: 'Standard device',
    last: 'The one you chose last',
    level: 'How loud you are',
    speak: 'Say something: the bar should move.',
    heard: 'You can be heard.',
    original: 'Original sound',
    originalHelp: 'For music: no noise or echo is taken out. Use headphones.',
    refused: 'The browser does not let this page use the microphone. Allow it with the icon beside the address, then try again.',
    missing: 'No microphone was found. Plug one in, then try again.',
    busy: 'The microphone cannot be used now. Another program may have it.',
    insecure: 'Browsers give a microphone only to pages on https or localhost. Open this page there.',
    unsupported: 'This browser gives no microphone to web pages. Try a current Chrome, Firefox or Safari.',
    listening: 'Until then you are listening only.',
    gone: 'The microphone is gone. You are listening only.',
    retry: 'Try again'
  },

  status: {
    connecting: 'Connecting …',
    connectingAudio: 'Connecting audio …',
    back: 'Coming back …',
    waiting: (why: string) => `${why}. Trying again …`,
    noAudio: 'Connected, without audio',
    listening: 'Connected, listening only',
    mutedByHost: 'Connected, muted by the host',
    connected: 'Connected',
    /** @param ms undefined where the clock here and that of the server differ */
    draining: (ms: number | undefined) => `This server stops ${ms === undefined ? 'soon' : `in ${seconds(ms)} seconds`}. You will be brought to another one.`
  },

  quality: {
    title: 'Connection',
    button: (rating: string) => `Connection: ${rating.toLowerCase()}. Show details`,
    good: 'Good',
    fair: 'Fair',
    poor: 'Poor',
    unknown: 'Not measured yet',
    explain: {
      good: 'Everything arrives in time.',
      fair: 'Some of it is late or lost. You may hear short gaps.',
      poor: 'Much is late or lost. A better network, or a place nearer to the Wi-Fi, helps.',
      unknown: 'It is measured as soon as there is sound.'
    },
    received: 'Received',
    sent: 'Sent',
    loss: 'Lost packets',
    jitter: 'Jitter',
    roundTrip: 'Round trip',
    rate: 'Data rate',
    concealed: 'Made-up sound',
    packets: 'Packets',
    route: 'Route',
    reconnects: 'Reconnects',
    nothing: '–'
  },

  room: {
    leave: 'Leave',
    share: 'Share',
    shared: 'The link to this room is in your clipboard.',
    shareHere: 'Link to this room',
    views: 'Parts of the room',
    viewRoom: 'Room',
    viewChat: 'Chat',
    unread: (count: number) => `${count} new`,
    seats: 'Seats',
    people: 'In the room',
    more: 'Show everybody',
    find: 'Find somebody',
    controls: 'Your controls',
    listening: (count: number) => `${count} listening`,
    roles: { owner: 'Host' },
    doing: { speaking: 'speaking', live: 'on air', muted: 'muted', listening: 'listening' },
    soundBlocked: 'The browser holds the sound back until you press a button.',
    soundOn: 'Turn on the sound'
  },

  seat: {
    number: (seat: number) => `Seat ${seat}`,
    take: (seat: number) => `Take seat ${seat}`,
    own: (seat: number) => `Seat ${seat}: you`,
    taken: (seat: number, name: string) => `Seat ${seat}: ${name}`,
    invited: (name: string) => `${name} is invited`,
    locked: (seat: number) => `Seat ${seat} is locked`,
    comingBack: 'Somebody who is coming back',
    free: 'Free',
    lockedShort: 'Locked',
    options: (seat: number) => `Options of seat ${seat}`,
    lock: (seat: number) => `Lock seat ${seat}`,
    unlock: (seat: number) => `Unlock seat ${seat}`,
    invite: 'Invite somebody here',
    assign: 'Invite somebody here, or put them here',
    put: 'Put',
    nobody: 'Nobody is listening who could sit here.',
    leave: 'Leave seat',
    speak: 'Speak',
    stop: 'Stop speaking',
    mute: 'Mute',
    unmute: 'Unmute',
    mutedByHost: 'Muted by the host',
    useMicrophone: 'Turn on microphone',
    noneFree: 'No seat is free. You are listening only.',
    gone: 'You were taken off your seat. You are listening only.',
    none: (why: string) => `You get no seat: ${why}. You are listening only.`
  },

  hands: {
    raise: 'Raise hand',
    lower: 'Lower hand',
    title: 'Raised hands',
    raised: 'Your hand is up. The host sees it.',
    invite: (name: string) => `Invite ${name} to a seat`,
    dismiss: (name: string) => `Lower the hand of ${name}`,
    inviteShort: 'Invite',
    dismissShort: 'Lower'
  },

  invitation: {
    text: (seat: number) => `You are invited to speak, on seat ${seat}.`,
    accept: 'Accept',
    decline: 'Decline'
  },

  person: {
    open: (name: string) => `${name}: what you can do`,
    mute: (name: string) => `Mute ${name}`,
    unmute: (name: string) => `Unmute ${name}`,
    remove: (name: string) => `Remove ${name} from the seat`,
    invite: (name: string) => `Invite ${name} to a seat`,
    invited: (name: string) => `${name} is invited`,
    assign: (name: string) => `Put ${name} on a seat`,
    seat: 'Seat',
    put: 'Put there',
    noneFree: 'No seat is free.'
  },

  chat: {
    title: 'Chat',
    message: 'Message',
    placeholder: 'Say something to everybody',
    send: 'Send',
    empty: 'Nobody has written yet.',
    newer: 'New messages'
  },

  gifts: {
    give: (name: string) => `Gift for ${name}`,
    quantity: 'How many',
    send: 'Give it',
    names: { 1: 'Rose', 2: 'Coffee', 3: 'Star', 4: 'Rocket', 5: 'Crown' } as Readonly<Record<number, string>>,
    unknown: 'Gift',
    given: (sender: string, recipient: string, gift: string, quantity: number) =>
      `${sender} gave ${recipient} ${quantity === 1 ? `a ${gift.toLowerCase()}` : `${quantity} × ${gift}`}`,
    failed: (reason: string) => `Your gift did not go through: ${reason}`,
    total: (count: number) => count === 1 ? '1 gift so far' : `${count} gifts so far`,
    totalOf: (name: string, count: number) => `${name} has got ${count === 1 ? '1 gift' : `${count} gifts`}`
  },

  reactions: {
    open: 'React',
    choose: 'Choose a reaction',
    react: (emoji: string) => `React with ${emoji}`,
    came: (counts: readonly (readonly [emoji: string, count: number])[]) => counts.map(([emoji, count]) => count === 1 ? emoji : `${count} × ${emoji}`).join(', ')
  },

  /** What the server refuses, where its own words are not the best ones for people: it counts seats from zero. */
  refusals: {
    SEAT_TAKEN: 'Somebody else was quicker',
    SEAT_LOCKED: 'That seat is locked',
    INVITE_PENDING: 'Somebody is already invited to that seat',
    RATE_LIMITED: 'That was too fast. Wait a moment',
    NOT_CONNECTED: 'There is no connection now. Try again in a moment',
    CONNECTION_LOST: 'The connection was lost meanwhile. Try again',
    FEATURE_DISABLED: 'This was turned off on the server',
    UNREACHABLE: 'The server cannot be reached',
    PIN_REQUIRED: 'This room is locked. Enter its pin',
    PIN_WRONG: 'That is not the pin of this room',
    ROOM_FULL: 'This room is full',
    ROOM_CLOSED: 'The room was closed'
  } as Readonly<Record<string, string>>,
  /** Why there is no connection. */
  trouble: {
    CONNECTION_LOST: 'The connection to the server was lost',
    UNREACHABLE: 'The server cannot be reached',
    REFUSED: 'The server does not take the connection now',
    TIMEOUT: 'The server does not answer',
    TOKEN_UNAVAILABLE: 'You could not be signed in',
    CONNECTION_INVALID: 'The address or the token is malformed',
    UNAUTHORIZED: 'You are not signed in, or not any more',
    KICKED: 'You were removed from the room',
    REPLACED: 'You have connected from somewhere else'
  } as Readonly<Record<string, string>>,
  noSession: 'The server gives no session'
}

const seat = (index: number) => `Seat ${index + 1}`
const counted = (count: number, one: string, many: string) => count === 1 ? `1 ${one}` : `${count.toLocaleString('en')} ${many}`
const names = (list: readonly string[]) => list.join(', ')
const duration = (ms: number) => {
  const steps = [[86_400_000, 'd'], [3_600_000, 'h'], [60_000, 'min'], [1000, 's']] as const
  const [length, unit] = steps.find(([length]) => ms >= length) ?? [1000, 's'] as const
  return `${Math.max(0, Math.floor(ms / length))} ${unit}`
}

/** What the page for admins shows. */
export const adminStrings = {
  product: 'FlyLive admin',
  title: (place: string) => `${place} · FlyLive admin`,
  sections: { rooms: 'Rooms', features: 'Features', gifts: 'Gifts', charts: 'Charts' },
  navigation: 'Sections',
  toStage: 'Back to the stage',
  more: 'Show more',
  dismiss: 'Dismiss',
  loading: 'Loading …',
  nothing: '–',
  yes: 'Yes',
  no: 'No',
  duration,
  ago: (ms: number) => ms < 1000 ? 'just now' : `${duration(ms)} ago`,
  of: (shown: number, total: number) => `${shown.toLocaleString('en')} of ${total.toLocaleString('en')}`,
  unreachable: 'The server cannot be reached now. This page goes on trying.',

  key: {
    title: 'Admin key',
    lead: 'What follows is for those who run this server. The key is one of ADMIN_API_KEY; it stays in this tab and is gone when you close it.',
    field: 'Admin key',
    enter: 'Enter',
    checking: 'Checking …',
    forget: 'Forget key',
    forgotten: 'The key is forgotten.',
    missing: 'Enter the key.',
    wrong: 'That is not a key of this server.',
    refused: 'The server does not accept the key any more. Enter one that it does.',
    none: 'This server has no admin key, so it cannot be managed from here. Set ADMIN_API_KEY and start it again.',
    locked: (ms: number) => `Too many wrong keys came from your address. It may try again in ${duration(ms)}.`
  },

  server: {
    title: 'Server',
    node: 'Node',
    version: 'Version',
    uptime: 'Runs for',
    ready: 'Ready',
    notReady: (checks: readonly string[]) => `Not ready: ${names(checks)}`,
    draining: 'This server is draining: it takes no new connections and rooms.',
    drain: 'Drain this server',
    drainText: 'No new connections and rooms; everybody connected is told to go to another server. It cannot be taken back: to serve again, the server has to be started again.',
    deadline: 'Seconds until the deadline',
    deadlineHelp: '0 to 3600. Who is still connected then may be cut off.',
    deadlineWrong: 'Enter a number from 0 to 3600.',
    drainConfirm: 'Drain',
    drainBegun: (seconds: number) => `The server drains, for ${counted(seconds, 'second', 'seconds')} at most.`,
    drained: 'The server is empty.',
    deadlineOver: (sessions: number) => `The deadline is over, with ${counted(sessions, 'connection', 'connections')} left.`
  },

  rooms: {
    caption: 'Rooms on all servers',
    room: 'Room',
    owner: 'Owner',
    people: 'People',
    seated: 'Seated',
    producers: 'Voices',
    age: 'Age',
    activity: 'Last activity',
    filter: 'Filter by room or owner',
    listed: (count: number) => counted(count, 'room', 'rooms'),
    more: 'Only the rooms listed here are searched.',
    none: 'There is no room now.',
    noneFits: 'No room listed here fits.',
    open: (id: string) => `Open the room ${id}`
  },

  room: {
    title: (id: string) => `Room ${id}`,
    back: 'All rooms',
    gone: 'There is no such room now. When it comes, it is shown here.',
    facts: 'Facts',
    owner: 'Owner',
    people: 'People',
    pin: 'Pin needed',
    worker: 'Media worker',
    noWorker: 'No audio on this server',
    peopleTitle: 'People',
    name: 'Name',
    id: 'Id',
    seat: 'Seat',
    audio: 'Audio',
    actions: 'Actions',
    isOwner: 'Owner',
    speaking: 'on air',
    paused: 'muted',
    nobody: 'Nobody is in the room.',
    somePeople: (shown: number, total: number) => `${shown.toLocaleString('en')} of ${total.toLocaleString('en')} are listed.`,
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
    none: 'Nobody is connected for audio on this server.'
  },

  seats: {
    title: 'Seats',
    off: 'The feature seats is turned off.',
    number: seat,
    seat: 'Seat',
    who: 'Who',
    state: 'State',
    free: 'Free',
    locked: 'locked',
    muted: 'muted by a host',
    selfMuted: 'muted',
    away: 'coming back',
    invited: (user: string) => `${user} is invited`,
    hands: 'Raised hands',
    count: 'Number of seats',
    change: 'Change',
    changed: (count: number) => `The room has ${counted(count, 'seat', 'seats')} now.`
  },

  close: {
    title: (room: string) => `Close ${room}`,
    text: 'Everybody is sent out, and the room is no more.',
    reason: 'Reason, as the clients are told',
    reasonHelp: 'closed_by_admin when left empty',
    confirm: 'Close the room',
    done: (room: string) => `The room ${room} is closed.`
  },

  kick: {
    title: (name: string) => `Kick ${name}`,
    text: (room: string) => `Ends their connections in ${room}.`,
    ban: 'Keep them out',
    bans: [[0, 'No'], [600, 'For 10 minutes'], [3600, 'For an hour'], [86_400, 'For a day'], [604_800, 'For a week'], [2_592_000, 'For 30 days']] as readonly (readonly [number, string])[],
    confirm: 'Kick',
    done: (name: string) => `${name} was kicked.`,
    banned: (name: string, seconds: number) => `${name} was kicked, and is kept out for ${duration(seconds * 1000)}.`
  },

  unban: {
    title: 'Lift a ban',
    user: 'Id of the banned user',
    confirm: 'Lift the ban',
    done: (user: string, room: string) => `${user} may enter ${room}.`
  },

  user: {
    title: 'Look up a user',
    id: 'Id of the user',
    find: 'Look up',
    caption: (id: string) => `Connections of ${id}`,
    nowhere: (id: string) => `${id} is not connected to any server.`,
    session: 'Session',
    node: 'Server',
    room: 'Room',
    since: 'Connected',
    seat: (index: number) => `On ${seat(index).toLowerCase()}.`
  },

  features: {
    lead: 'What is changed here changes on all servers, while people talk.',
    rescan: 'Look for new ones',
    rescanned: (added: readonly string[], removed: readonly string[]) =>
      added.length + removed.length === 0 ? 'No feature has come or gone.' : [added.length > 0 ? `New: ${names(added)}.` : '', removed.length > 0 ? `Gone: ${names(removed)}.` : ''].join(' ').trim(),
    unreadable: (failed: readonly string[]) => `Not readable: ${names(failed)}.`,
    states: { enabled: 'on', disabled: 'off', failed: 'failed' },
    version: (version: string, generation: number) => generation === 0 ? `Version ${version}` : `Version ${version}, generation ${generation}`,
    generation: (generation: number) => `Generation ${generation}`,
    loaded: (ago: string) => `Loaded ${ago}`,
    needs: (features: readonly string[]) => `Needs ${names(features)}`,
    lastError: 'Its last change could not be made',
    whyFailed: 'Why it does not run',
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
      reload: (name: string, generation: number) => `${name} is reloaded: generation ${generation}.`
    },
    also: (features: readonly string[]) => `Also: ${names(features)}.`
  },

  toggle: {
    enable: (name: string) => `Turn ${name} on`,
    disable: (name: string) => `Turn ${name} off`,
    disableText: 'Its messages are refused from then on, for everybody and on all servers.',
    disableStage: 'This page comes from that feature. It stays as it is until you reload it, and then it is gone: turn stage on again before, or by the command line.',
    inUse: (features: readonly string[]) => `It is needed by ${names(features)}.`,
    needs: (features: readonly string[]) => `It needs ${names(features)}, which is off.`,
    withThose: { enable: 'Turn on with those', disable: 'Turn off with those' }
  },

  config: {
    title: (name: string) => `Settings of ${name}`,
    text: 'The feature is reloaded with them, on all servers. What is left empty is as by default.',
    save: 'Save',
    saved: (name: string) => `The settings of ${name} are in force.`,
    unchanged: 'Nothing is changed.',
    standard: 'As by default',
    standardIs: (value: string) => `Default: ${value}`,
    on: 'On',
    off: 'Off',
    lines: 'One a line',
    json: 'As JSON',
    range: (least: number | undefined, most: number | undefined) =>
      least === undefined ? most === undefined ? '' : `At most ${most}` : most === undefined ? `At least ${least}` : `${least} to ${most}`,
    notANumber: 'Enter a number.',
    notJson: 'This is not JSON.'
  },

  gifts: {
    off: 'The feature gifts is turned off.',
    toFeatures: 'To the features',
    counts: { queued: 'Waiting', deadLetters: 'Dead letters', failed: 'Refused', ledger: 'Recorded here' },
    title: 'Dead letters',
    lead: 'Gifts that were tried in vain and given up. They wait here until they are tried again.',
    none: 'There are no dead letters.',
    transaction: 'Transaction',
    room: 'Room',
    sender: 'From',
    recipient: 'To',
    gift: 'Gift',
    giftOf: (gift: number, quantity: number) => quantity === 1 ? `${gift}` : `${quantity} × ${gift}`,
    reason: 'Why',
    tries: 'Tries',
    died: 'Given up',
    choose: (transaction: string) => `Choose ${transaction}`,
    replayChosen: (count: number) => count === 0 ? 'Try chosen ones again' : `Try ${counted(count, 'chosen one', 'chosen ones')} again`,
    replayAll: 'Try all again',
    confirmAll: (count: number) => `Try ${counted(count, 'dead letter', 'dead letters')} again?`,
    confirmText: 'Each is sent to the backend once more. A gift that has been booked before is not booked twice.',
    replayed: (count: number) => count === 0 ? 'There was nothing to try again.' : `${counted(count, 'gift is', 'gifts are')} tried again.`
  },

  charts: {
    lead: 'This server, in the last three minutes.',
    titles: {
      people: 'Connections',
      rooms: 'Rooms',
      audio: 'Rooms with audio',
      messages: 'Messages per second',
      delay: 'Event loop delay',
      cpu: 'CPU of the server'
    },
    help: {
      people: 'WebSockets open now',
      rooms: 'With members on this server',
      audio: 'Over all media workers',
      messages: 'Requests of clients, answered or refused',
      delay: '99th percentile; 10 ms is nothing',
      cpu: 'Of one core, without media workers'
    },
    units: { count: '', milliseconds: 'ms', percent: '%' },
    range: (least: string, most: string) => `${least} to ${most}`,
    summary: (title: string, now: string, least: string, most: string) => `${title}: now ${now}, least ${least}, most ${most} in the last three minutes`,
    waiting: (title: string) => `${title}: nothing measured yet`,
    missing: 'This server does not measure it.',
    start: '3 min ago',
    end: 'now',
    tokenTitle: 'Metrics token',
    tokenLead: 'This server gives its metrics to those who have its METRICS_TOKEN. It stays in this tab, like the key.',
    token: 'Metrics token',
    tokenMissing: 'Enter the token.',
    tokenWrong: 'That is not the metrics token of this server.'
  },

  /** What a call is refused with, where words of the page say it better than the server's. */
  refusals: {
    UNREACHABLE: 'The server cannot be reached. Nothing was changed, or the answer was lost: look before you try again.',
    UNREADABLE: 'The server gave an answer that this page cannot read.',
    UNAUTHORIZED: 'The server does not accept the key.',
    ROOM_NOT_FOUND: 'There is no such room (any more).',
    INTERNAL: 'Something went wrong on the server. Its log says what.'
  } as Readonly<Record<string, string>>,
  tooMany: (ms: number) => `Too many calls came from your address. Try again in ${duration(Math.max(ms, 1000))}.`
}
