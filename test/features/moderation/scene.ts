import type { TestServer } from '../../support/build.ts'
import type { TestClient } from '../../support/client.ts'

/** The roles of the members of the test room. */
export type Standing = 'owner' | 'admin' | 'member'

/** A room with an owner (1), an admin (2) whom the owner appointed, and members (3 and 4). */
export interface Scene {
  roomId: string
  owner: TestClient
  admin: TestClient
  member: TestClient
  other: TestClient
}

/** Opens a room. The members are distributed evenly over the servers. */
export async function openRoom (servers: readonly TestServer[], roomId: string, { pin, name = true }: { pin?: string, name?: boolean } = {}): Promise<Scene> {
  const clients: TestClient[] = []
  for (let id = 1; id <= 4; id++) {
    const client = await (servers[id % servers.length] as TestServer).connect(id)
    await client.ok('room:join', { roomId, ...(pin === undefined ? {} : { pin }) })
    clients.push(client)
  }
  const [owner, admin, member, other] = clients as [TestClient, TestClient, TestClient, TestClient]
  if (name) {
    await owner.ok('room:setRole', { userId: 2, role: 'admin' })
    for (const client of clients) await client.event('room:role')
  }
  return { roomId, owner, admin, member, other }
}
