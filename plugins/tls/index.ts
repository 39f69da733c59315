import { unwatchFile, watchFile } from 'node:fs'
import type { Server } from 'node:https'
import fp from 'fastify-plugin'
import { describeCertificate, readTls } from './certificate.ts'

/**
 * How often the files are checked for changes, in milliseconds. Polling also detects changes to files behind symbolic
 * links. Kubernetes and tools that renew certificates use such links.
 */
const pollMs = 2000
/**
 * Delay between a change and the reload, in milliseconds. During this delay, the other file can change too: the key and
 * the certificate are rarely written at exactly the same time.
 */
const settleMs = 500

/**
 * Reloads the TLS key and certificate when their files change, and on SIGHUP. New connections use the new certificate;
 * open connections stay open. If the new pair is not valid, the server keeps the previous pair and logs the reason.
 */
export default fp(async function tls (app) {
  const { SSL_KEY_PATH: keyPath, SSL_CERT_PATH: certPath } = app.config
  if (keyPath === undefined || certPath === undefined) return
  const server = app.server as unknown as Server
  let current = readTls({ keyPath, certPath })
  let timer: NodeJS.Timeout | undefined

  function reload (): void {
    try {
      const next = readTls({ keyPath, certPath } as { keyPath: string, certPath: string })
      if (next.key.equals(current.key) && next.cert.equals(current.cert)) return
      server.setSecureContext(next)
      current = next
      app.log.info(describeCertificate(next), 'TLS certificate replaced')
    } catch (err) {
      app.log.error({ err, keyPath, certPath, kept: describeCertificate(current) }, 'the new TLS key and certificate are invalid: continuing with the previous ones')
    }
  }

  const changed = () => {
    clearTimeout(timer)
    timer = setTimeout(reload, settleMs).unref()
  }
  const paths = [keyPath, certPath]
  for (const path of paths) watchFile(path, { interval: pollMs, persistent: false }, changed)
  process.on('SIGHUP', reload)
  app.addHook('onClose', async () => {
    clearTimeout(timer)
    for (const path of paths) unwatchFile(path, changed)
    process.off('SIGHUP', reload)
  })
}, { name: 'tls', dependencies: ['config'] })
