import t from 'tap'
import { onEveryStore } from '../../support/build.ts'
import { scene, seatsOf } from './scene.ts'

// Tests users who leave and rejoin immediately. The seats are updated slightly later than the
// room's members.

onEveryStore(t, 'a user who rejoins after leaving has no seat', async (t, env) => {
  const { server, member } = await scene(t, { SEAT_GRACE_SECONDS: '60', ...env })
  for (let i = 0; i < 60; i++) {
    const [, , reply] = await Promise.all([
      member.ok('seat:take', { seatIndex: i % 4 }),
      member.ok('room:leave', {}),
      member.ok('room:join', { roomId: 'r1' })
    ])
    if ((reply.seats as unknown[]).length > 0) t.fail(`round ${i}: the reply lists a seat`)
  }
  t.same((await seatsOf(server)).seats, [])
})

onEveryStore(t, 'a user who takes a seat after the rejoin keeps it', async (t, env) => {
  const { server, member } = await scene(t, { SEAT_GRACE_SECONDS: '60', ...env })
  for (let i = 0; i < 60; i++) {
    const more = () => i % 2 === 0 ? member.ok('seat:take', { seatIndex: i % 4 }) : member.ok('seat:request', {})
    await Promise.all([member.ok('room:leave', {}), member.ok('room:join', { roomId: 'r1' }), more()])
    const { seats, requests } = await seatsOf(server)
    if (seats.length + requests.length !== 1) t.fail(`round ${i}: ${seats.length} seats, ${requests.length} requests`)
  }
})
