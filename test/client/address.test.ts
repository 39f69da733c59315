import t from 'tap'
import { addressOf } from '../../client/address.ts'

t.test('keeps the path and the query of the base URL', async (t) => {
  const addresses = {
    'https://x': 'wss://x/ws',
    'http://x:3030/': 'ws://x:3030/ws',
    'https://x/audio': 'wss://x/audio/ws',
    'https://x/audio/': 'wss://x/audio/ws',
    'https://x/a/b//': 'wss://x/a/b/ws',
    'wss://x/voice': 'wss://x/voice/ws',
    'ws://x': 'ws://x/ws',
    'WSS://X/voice?room=r1&b=%2F#part': 'wss://x/voice/ws?room=r1&b=%2F',
    'https://x?room=r1': 'wss://x/ws?room=r1',
    'wss://x/ws': 'wss://x/ws',
    'wss://x/voice/ws?a': 'wss://x/voice/ws?a',
    'https://x/ws/': 'wss://x/ws/ws',
    'https://x/news': 'wss://x/news/ws'
  }
  for (const [base, address] of Object.entries(addresses)) {
    t.equal(addressOf(base, '/ws', 'ws'), address, base)
    t.equal(addressOf(base, '/ws', 'http'), address.replace(/^ws/, 'http'), base)
  }
  for (const base of ['', 'x', 'localhost:3030', '//x/audio', 'ftp://x', 'mailto:x', 'https://']) t.throws(() => addressOf(base, '/ws', 'ws'), TypeError, base)
})
