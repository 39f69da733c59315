import { execFileSync } from 'node:child_process'
import type { Test } from 'tap'

/** A simulated host: a Linux network namespace. */
export interface NetworkHost {
  ip: string
  /** Prefix that runs a command on this host. */
  launcher: string[]
}

/** Hosts on a network that also includes this machine. */
export interface TestNetwork {
  /** This machine's address on the network. */
  ip: string
  hosts: NetworkHost[]
  /** Cuts or restores the link between two hosts. Both hosts can still reach this machine. */
  link (a: NetworkHost, b: NetworkHost, isUp: boolean): void
}

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' })

/** @returns the reason why network namespaces cannot be used; undefined if namespaces can be used */
export function namespacesMissing (): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const name = `flylive-try-${process.pid}`
  try {
    ip('netns', 'add', name)
    ip('netns', 'delete', name)
  } catch (error) {
    return `network namespaces cannot be created: ${error instanceof Error ? error.message : String(error)}`
  }
}

/** Creates a network of namespaces, and removes it after the test. */
export function createNetwork (t: Test, size: number): TestNetwork {
  const id = process.pid % 60_000
  const net = `10.${192 + (id >> 8) % 64}.${id % 256}`
  const bridge = `fly${id}`
  ip('link', 'add', bridge, 'type', 'bridge')
  t.teardown(() => ip('link', 'delete', bridge))
  ip('address', 'add', `${net}.1/24`, 'dev', bridge)
  ip('link', 'set', bridge, 'up')
  const hosts = Array.from({ length: size }, (_, i): NetworkHost => {
    const name = `fly${id}-${i}`
    const address = `${net}.${10 + i}`
    ip('netns', 'add', name)
    t.teardown(() => ip('netns', 'delete', name))
    ip('link', 'add', `fly${id}v${i}`, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
    ip('link', 'set', `fly${id}v${i}`, 'master', bridge, 'up')
    const launcher = ['ip', 'netns', 'exec', name]
    ip('-n', name, 'address', 'add', `${address}/24`, 'dev', 'eth0')
    ip('-n', name, 'link', 'set', 'eth0', 'up')
    ip('-n', name, 'link', 'set', 'lo', 'up')
    // Clients on this machine also send from this machine's other addresses. Without a route for its replies to those
    // addresses, a host loses packets.
    ip('-n', name, 'route', 'add', 'default', 'via', `${net}.1`)
    return { ip: address, launcher }
  })
  return {
    ip: `${net}.1`,
    hosts,
    link (a, b, isUp) {
      for (const [from, to] of [[a, b], [b, a]] as const) ip('-n', from.launcher[3] as string, 'route', isUp ? 'delete' : 'add', 'blackhole', `${to.ip}/32`)
    }
  }
}
