import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort } from './redis.ts'
import { until } from './retry.ts'

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'deployment.md'), 'utf8')

/** The nginx blocks of docs/deployment.md, in order. */
function documentedBlocks () {
  const [server = '', upstream = '', lines = '', socketIoUpstream = '', socketIoLocation = ''] = [...page.matchAll(/^```nginx\n(.*?)^```/gms)].map(([, block]) => block)
  return { server, upstream, lines, socketIoUpstream, socketIoLocation }
}

/**
 * Builds the configuration that docs/deployment.md describes, for servers on this machine.
 *
 * @param ports the ports on which the servers listen
 */
function configuration (port: number, ports: readonly number[], folder: string): string {
  const { server, upstream, lines, socketIoUpstream, socketIoLocation } = documentedBlocks()
  let next = 0
  const adapted = server
    .replace('listen 443 ssl;', `listen 127.0.0.1:${port};`)
    .replace(/^ *ssl_certificate.*\n/gm, '')
    .replaceAll(/^ *proxy_pass http:\/\/127\.0\.0\.1:3030;\n/gm, lines)
    .replace('    location / {', `${socketIoLocation}\n    location / {`)
  const local = `${upstream}\n${socketIoUpstream}`.replaceAll(/server [\d.]+:3030/g, () => `server 127.0.0.1:${ports[next++ % ports.length]}`)
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`)
  return `daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
access_log off; ${paths.join(' ')}
${local}
${adapted}
}
`
}

/** Adapts the configuration to a path prefix as docs/deployment.md describes. */
function belowPrefix (config: string, prefix: string): string {
  return config
    .replace('location / {', `location ${prefix}/ {`)
    .replace('proxy_pass http://audio;', 'proxy_pass http://audio/;')
    .replace('location /socket.io/ {', `location ${prefix}/socket.io/ {`)
    .replace('proxy_pass http://audio_socket_io;', 'proxy_pass http://audio_socket_io/socket.io/;')
    .replace('location ~ ^/(admin|metrics|health)(/|$) {', `location ~ ^${prefix}/(admin|metrics|health)(/|$) {\nrewrite ^${prefix}(/.*)$ $1 break;`)
    .replace('allow 10.0.0.0/8;', 'allow 127.0.0.0/8;')
}

/**
 * Starts nginx as a load balancer with the configuration from docs/deployment.md, and stops it after the test.
 *
 * @param ports the ports on which the servers listen
 * @param prefix path prefix below which clients reach the servers, such as `/audio`; default: none
 * @param change modifies the configuration
 * @returns the URL of the load balancer, with the prefix
 */
export async function startNginx (t: Test, ports: readonly number[], prefix = '', change = (config: string) => config): Promise<{ url: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'flylive-nginx-'))
  const port = await freePort()
  const config = change(configuration(port, ports, folder))
  writeFileSync(join(folder, 'nginx.conf'), prefix === '' ? config : belowPrefix(config, prefix))
  const child = spawn('nginx', ['-p', folder, '-c', join(folder, 'nginx.conf'), '-e', join(folder, 'error.log')], {
    env: { PATH: `${process.env.PATH}:/usr/sbin` },
    stdio: ['ignore', 'ignore', 'pipe']
  })
  let output = ''
  child.stderr.on('data', (chunk) => { output += String(chunk) })
  const exit = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await exit
    rmSync(folder, { recursive: true, force: true })
  })
  const url = `http://127.0.0.1:${port}${prefix}`
  await Promise.race([
    until(async () => (await fetch(`${url}/livez`)).ok),
    exit.then(() => { throw new Error(`nginx ended: ${output}`) })
  ])
  return { url }
}
