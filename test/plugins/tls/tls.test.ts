import { generateKeyPairSync } from 'node:crypto'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import t from 'tap'
import { WebSocket } from 'ws'
import type { StartError } from '../../../config/error.ts'
import { readTls } from '../../../plugins/tls/certificate.ts'
import { build, tokenFor } from '../../support/build.ts'
import { until } from '../../support/retry.ts'

const fixtures = join(import.meta.dirname, '..', '..', 'fixtures', 'tls')
const pem = (name: string) => readFileSync(join(fixtures, name), 'utf8')

/**
 * Connects to a server.
 *
 * @returns the cipher suite and the key type of the certificate, or the error
 */
async function handshake (port: number, options: ConnectionOptions = {}) {
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options })
  try {
    await once(socket, 'secureConnect')
    const { bits = 0 } = socket.getPeerCertificate()
    return { protocol: socket.getProtocol(), cipher: socket.getCipher().name, key: bits === 2048 ? 'rsa' : 'ec' }
  } catch (error) {
    return { error: (error as { code: string }).code }
  } finally {
    socket.destroy()
  }
}

t.test('accepts TLS 1.2 only with forward secrecy', async (t) => {
  const { url } = await build(t, { env: { FEATURES: 'auth', SSL_KEY_PATH: join(fixtures, 'rsa-key.pem'), SSL_CERT_PATH: join(fixtures, 'rsa-cert.pem') } })
  const port = Number(new URL(url).port)
  t.match(await handshake(port), { protocol: 'TLSv1.3' })
  const with12 = (ciphers: string) => handshake(port, { maxVersion: 'TLSv1.2', ciphers })
  for (const cipher of ['ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES256-GCM-SHA384', 'ECDHE-RSA-CHACHA20-POLY1305']) t.match(await with12(cipher), { protocol: 'TLSv1.2', cipher })
  for (const cipher of ['AES128-GCM-SHA256', 'AES256-GCM-SHA384', 'AES128-SHA', 'ECDHE-RSA-AES128-SHA', 'ECDHE-RSA-AES128-SHA256']) t.match(await with12(cipher), { error: String }, cipher)
  t.match(await handshake(port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }), { error: String }, 'TLS 1.1')
})

t.test('if a TLS file cannot be used, the error names its variable', async (t) => {
  const folder = t.testdir({
    'encrypted.pem': generateKeyPairSync('ec', { namedCurve: 'P-256', privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' }, publicKeyEncoding: { type: 'spki', format: 'pem' } }).privateKey,
    'empty.pem': ''
  })
  const [key, cert] = [join(fixtures, 'key.pem'), join(fixtures, 'cert.pem')]
  const messageOf = (keyPath: string, certPath: string) => {
    try {
      return readTls({ keyPath, certPath })
    } catch (error) {
      return (error as StartError).name === 'StartError' && (error as StartError).message
    }
  }
  t.match(messageOf(join(fixtures, 'rsa-key.pem'), cert), /^SSL_KEY_PATH: the key in .*rsa-key\.pem does not match the certificate in .*cert\.pem$/)
  t.match(messageOf(cert, key), /^SSL_CERT_PATH: .*key\.pem must be a PEM file with a certificate: /)
  t.match(messageOf(join(folder, 'encrypted.pem'), cert), /^SSL_KEY_PATH: .*encrypted\.pem must be a PEM file with a private key that is not encrypted: /)
  t.match(messageOf(join(folder, 'empty.pem'), cert), /^SSL_KEY_PATH: .*empty\.pem must be a PEM file with a private key/)
  t.match(messageOf(join(folder, 'none.pem'), cert), /^SSL_KEY_PATH: .*none\.pem cannot be read: ENOENT/)
})

t.test('uses a new certificate without closing connections', async (t) => {
  const folder = t.testdir({ 'key.pem': pem('key.pem'), 'cert.pem': pem('cert.pem') })
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const lines: { msg?: unknown, err?: { message: string } }[] = []
  const { app, url } = await build(t, { env: { FEATURES: 'auth', SSL_KEY_PATH: key, SSL_CERT_PATH: cert }, log: (line) => { lines.push(line) } })
  const port = Number(new URL(url).port)
  const logged = (text: RegExp) => lines.filter(({ msg }) => text.test(String(msg)))
  const ws = new WebSocket(`wss://127.0.0.1:${port}/ws`, ['msab.v1'], { rejectUnauthorized: false, headers: { authorization: `Bearer ${tokenFor(1)}` } })
  t.teardown(() => ws.terminate())
  await once(ws, 'open')
  t.match(await handshake(port), { key: 'ec' })

  t.test('if the files change, the server uses the new pair', async (t) => {
    copyFileSync(join(fixtures, 'rsa-cert.pem'), cert)
    copyFileSync(join(fixtures, 'rsa-key.pem'), key)
    await until(async () => (await handshake(port)).key === 'rsa')
    t.equal(logged(/TLS certificate replaced/).length, 1)
    t.match(lines.at(-1), { subject: 'CN=localhost', validTo: String, fingerprint: String })
  })

  t.test('if the new key and certificate are broken, the server keeps the previous pair', async (t) => {
    for (const [name, write] of Object.entries({
      'a key of another certificate': () => copyFileSync(join(fixtures, 'key.pem'), key),
      'no certificate': () => writeFileSync(cert, ''),
      'half a certificate': () => writeFileSync(cert, pem('cert.pem').slice(0, 300))
    })) {
      const before = logged(/are invalid: continuing with the previous ones/).length
      write()
      process.emit('SIGHUP', 'SIGHUP')
      await until(() => logged(/are invalid: continuing with the previous ones/).length > before)
      t.match(await handshake(port), { key: 'rsa' }, name)
    }
  })

  t.test('on SIGHUP, the server uses the new pair immediately', async (t) => {
    copyFileSync(join(fixtures, 'key.pem'), key)
    copyFileSync(join(fixtures, 'cert.pem'), cert)
    process.emit('SIGHUP', 'SIGHUP')
    t.match(await handshake(port), { key: 'ec' }, 'immediately')
    t.equal(logged(/TLS certificate replaced/).length, 2)
  })

  t.test('open connections stay open', async (t) => {
    t.equal(ws.readyState, WebSocket.OPEN)
    ws.ping()
    await once(ws, 'pong')
    t.equal(app.sockets.size, 1)
  })
})
