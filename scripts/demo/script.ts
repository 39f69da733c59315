// The conversations of the demo. scripts/demo/speech.ts generates their audio. A test fails if a recording's text
// differs from its line.
import { coffeeCorner, fireside, nightOwls } from './cast.ts'
import type { Key, Person } from './cast.ts'

/** One step of a conversation. */
export type Beat =
  | Line
  | { does: 'chat', who: Key, text: string }
  | { does: 'react', who: Key, emoji: string }
  | { does: 'give', who: Key, to: Key, giftId: number, quantity?: number }
  /** The talker raises a hand, the owner invites the talker, and the talker takes a seat. */
  | { does: 'askToSpeak', who: Key }
  | { does: 'sitDown' | 'getUp' | 'leave' | 'return', who: Key }
  /** The owner mutes a talker (`silence`) or unmutes a talker (`unsilence`). */
  | { does: 'silence' | 'unsilence', who: Key, whom: Key }
  | { does: 'wait', ms: number }

/** A spoken line. */
export interface Line {
  does: 'say'
  who: Key
  /** Together with `who`, identifies the line's recording. */
  id: string
  text: string
  /** Set for interruptions: the line starts this many milliseconds before the end of the previous line. */
  early?: number
  /** Emoji that listeners react with. */
  mood?: string
}

/** One part of a conversation. */
export interface Topic {
  /**
   * Talkers that the topic requires; if any of them is absent, the topic is skipped. If another talker is absent, only
   * the steps that involve that talker are skipped.
   */
  needs: readonly Key[]
  beats: readonly Beat[]
}

export interface RoomScript {
  people: readonly Person[]
  /** Played once, after all talkers have joined. */
  opening: Topic
  /** Played in a loop, in random order. */
  topics: readonly Topic[]
  /** Minimum and maximum pause between topics, in milliseconds. */
  pauseMs: readonly [number, number]
  /** Minimum and maximum pause between spoken lines, in milliseconds. */
  breathMs: readonly [number, number]
}

const say = (who: Key, id: string, text: string, more: Pick<Line, 'early' | 'mood'> = {}): Line => ({ does: 'say', who, id, text, ...more })
const chat = (who: Key, text: string): Beat => ({ does: 'chat', who, text })
const react = (who: Key, emoji: string): Beat => ({ does: 'react', who, emoji })
const wait = (ms: number): Beat => ({ does: 'wait', ms })

const firesideScript: RoomScript = {
  people: fireside,
  pauseMs: [2500, 6000],
  breathMs: [250, 1100],
  opening: {
    needs: ['maya', 'ben', 'emma'],
    beats: [
      say('maya', 'welcome', "Good evening, and welcome to the fireside. I'm Maya, and this is a live audio room.", { mood: '👏' }),
      chat('emma', 'Hi all 👋 first time here'),
      say('ben', 'hello', 'Hi Maya, Ben here. By the way, this is plain WebRTC. All you need is a browser.'),
      chat('diego', 'Loud and clear from Lisbon'),
      { does: 'give', who: 'ben', to: 'maya', giftId: 1 },
      { does: 'askToSpeak', who: 'emma' },
      say('emma', 'thanks', 'Thank you for the invite! So, how many people fit into a room like this?'),
      say('ben', 'thousands', 'A handful on the seats, and thousands who listen. One small media server sends it to all of them.'),
      say('diego', 'signalling', 'And the audio never touches JavaScript. Node only does the signalling.'),
      chat('chloe', "I'm on my phone and it just works"),
      say('maya', 'seats', 'If you want to talk, take a free seat. Or raise your hand, and I will invite you up.')
    ]
  },
  topics: [
    {
      needs: ['emma', 'ben', 'diego'],
      beats: [
        say('emma', 'network', 'What happens to my seat when my phone loses the network?'),
        say('diego', 'waits', 'It waits for you. Fifteen seconds, and nobody can take it away.'),
        chat('chloe', 'good to know, my train goes through a lot of tunnels'),
        say('emma', 'same-seat', 'And if two people want the same seat?'),
        say('diego', 'one', 'Then exactly one of them gets it. Even when they are on different servers.'),
        { does: 'askToSpeak', who: 'felix' },
        say('felix', 'sister', 'I used to fight with my sister for the window seat. There was no atomic script for that.', { mood: '😂' }),
        react('ben', '😂')
      ]
    },
    {
      needs: ['maya', 'ben', 'emma'],
      beats: [
        { does: 'give', who: 'chloe', to: 'maya', giftId: 2, quantity: 3 },
        say('maya', 'gift', 'Oh, thank you for the gift! That is very kind.', { mood: '❤️' }),
        say('emma', 'crash', 'Wait. What if the server crashes right in that moment?'),
        say('ben', 'stored', 'A gift is only accepted once it is stored. After that it is booked exactly once, whatever happens.'),
        say('felix', 'plug', 'So if I pull the plug, Maya still gets her rose?', { mood: '😂' }),
        say('ben', 'please', 'She does. Please do not pull the plug.', { early: 300 }),
        chat('felix', 'puts down the scissors ✂️'),
        { does: 'give', who: 'felix', to: 'ben', giftId: 1 }
      ]
    },
    {
      needs: ['diego', 'emma', 'ben'],
      beats: [
        say('diego', 'favourite', 'My favourite part is the features. You can replace the seats while we sit on them.'),
        say('emma', 'cut-off', 'While we are talking? Do we get cut off?', { early: 350 }),
        say('diego', 'reload', 'Not at all. Open the admin page, reload a feature, and listen. You will not hear a click.', { mood: '🔥' }),
        say('ben', 'measured', 'We measured it. Eighteen hundred reloads, and not one lost packet.', { mood: '😮' }),
        chat('emma', 'ok that is actually impressive'),
        say('felix', 'jokes', 'I reload my jokes all the time. Nobody notices either.', { mood: '😂' }),
        say('maya', 'noticed', 'Oh, we noticed, Felix.', { early: 450 }),
        react('chloe', '😂')
      ]
    },
    {
      needs: ['emma', 'maya'],
      beats: [
        say('emma', 'train', 'My train goes into a tunnel. I will be right back.'),
        { does: 'leave', who: 'emma' },
        say('chloe', 'comes-back', 'The connection comes back by itself, as soon as she is out of there.'),
        chat('ben', 'it even remembers what she was sending'),
        wait(5000),
        { does: 'return', who: 'emma' },
        { does: 'askToSpeak', who: 'emma' },
        say('emma', 'back', 'I am back! Did I miss anything?'),
        say('maya', 'joke', "Only one of Felix's jokes.", { early: 200, mood: '😂' })
      ]
    },
    {
      needs: ['maya', 'ben'],
      beats: [
        say('maya', 'noise', 'Ben, there is some noise on your line. I will mute you for a second.'),
        { does: 'silence', who: 'maya', whom: 'ben' },
        chat('ben', 'sorry, the coffee machine ☕'),
        wait(3500),
        { does: 'unsilence', who: 'maya', whom: 'ben' },
        say('ben', 'coffee', 'Am I back? Good. The coffee is ready, too.'),
        say('diego', 'politely', 'And that was the server, muting you. Not a button that asks politely.')
      ]
    },
    {
      needs: ['maya', 'ben'],
      beats: [
        say('chloe', 'chat', 'There is a chat as well, and reactions. Try them! Everybody sees them at once.', { mood: '🎉' }),
        react('diego', '🎉'),
        react('emma', '🎉'),
        say('ben', 'backend', 'You can connect your own backend, too. It says who owns a room, and who may do what.'),
        chat('emma', 'so our app could have rooms like this one?'),
        say('maya', 'hello', 'And if you have just come in, say hello in the chat. We do not bite.'),
        { does: 'getUp', who: 'felix' }
      ]
    },
    {
      needs: ['diego', 'chloe'],
      beats: [
        { does: 'getUp', who: 'chloe' },
        say('diego', 'open', 'It is all open source, so you can look at how it works. Or take it apart.'),
        { does: 'askToSpeak', who: 'chloe' },
        say('chloe', 'sat', 'I am back on my seat. Listening was nice, but talking is nicer.', { mood: '❤️' }),
        { does: 'give', who: 'diego', to: 'chloe', giftId: 3 },
        { does: 'leave', who: 'felix' },
        wait(4000),
        { does: 'return', who: 'felix' },
        chat('felix', 'what did I miss')
      ]
    }
  ]
}

const nightScript: RoomScript = {
  people: nightOwls,
  pauseMs: [6000, 20_000],
  breathMs: [1200, 4000],
  opening: { needs: [], beats: [] },
  topics: [
    {
      needs: ['nora', 'otto'],
      beats: [
        say('nora', 'still-up', 'Are you still up, Otto?'),
        say('otto', 'logs', 'Somebody has to watch the logs.'),
        say('nora', 'what', 'And what do they say?'),
        say('otto', 'nothing', 'Nothing at all. It is the most beautiful thing I have read all day.')
      ]
    },
    {
      needs: ['nora', 'otto'],
      beats: [
        say('nora', 'quiet', 'It is so quiet in here.'),
        say('otto', 'cheap', 'I like quiet rooms. They cost almost nothing.'),
        chat('nora', 'the fireside is louder tonight 🔥'),
        react('otto', '👍')
      ]
    }
  ]
}

const coffeeScript: RoomScript = {
  people: coffeeCorner,
  pauseMs: [40_000, 90_000],
  breathMs: [1000, 2000],
  opening: { needs: [], beats: [] },
  topics: [
    { needs: ['iris'], beats: [chat('iris', 'anybody up for a coffee? ☕')] },
    { needs: ['iris'], beats: [chat('iris', 'I am around, come in')] }
  ]
}

/** Short interjections while another talker speaks. Interjections need no reply. */
export const asides: readonly Line[] = [
  say('emma', 'nice', 'Oh, nice.'),
  say('ben', 'right', 'Right.'),
  say('diego', 'exactly', 'Exactly.'),
  say('chloe', 'true', 'So true.')
]

/** The rooms of the demo by name, the main room first. */
export function rooms (first: string, talkers: number): [string, RoomScript][] {
  return [
    [first, { ...firesideScript, people: fireside.slice(0, talkers) }],
    ['night-owls', nightScript],
    ['coffee-corner', coffeeScript]
  ]
}

/** All spoken lines. */
export const lines: readonly Line[] = [firesideScript, nightScript, coffeeScript]
  .flatMap(({ opening, topics }) => [opening, ...topics])
  .flatMap(({ beats }) => beats)
  .filter((beat) => beat.does === 'say')
  .concat(asides)

/** File name of a line's recording in scripts/demo/speech. */
export const fileOf = ({ who, id }: Line): string => `${who}-${id}.wav`
