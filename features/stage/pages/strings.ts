// Every word that the pages show. Who translates them needs no other file.

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
    joinRoom: (room: string) => `Join ${room}`,
    entering: 'Entering …'
  },

  microphone: {
    title: 'Microphone',
    check: 'Check the microphone',
    stop: 'Stop the check',
    device: 'Device',
    standard: 'Standard device',
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
    lost: 'The connection is lost',
    noAudio: 'Connected, without audio',
    listening: 'Connected, listening only',
    mutedByHost: 'Connected, muted by the host',
    connected: 'Connected',
    draining: (ms: number) => `This server stops in ${seconds(ms)} seconds. You will be brought to another one.`
  },

  quality: {
    title: 'Connection',
    button: (rating: string) => `Connection: ${rating}. Show details`,
    good: 'good',
    fair: 'fair',
    poor: 'poor',
    unknown: 'not measured yet',
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
    roles: { owner: 'Host', admin: 'Admin', member: '' },
    speakingNow: (names: string) => `${names} speaking`,
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
    assign: 'Put somebody here',
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
    newer: 'New messages',
    earlier: 'Earlier'
  },

  gifts: {
    give: (name: string) => `Gift for ${name}`,
    gift: 'Gift',
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
    react: (emoji: string) => `React with ${emoji}`
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
    ROOM_FULL: 'This room is full'
  } as Readonly<Record<string, string>>,
  noSession: 'The server gives no session'
}
