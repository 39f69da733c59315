// Asks the server of this container whether it lives; the status is the answer.
//
//   node scripts/healthcheck.ts
//
// It reads the same environment as the server. The certificate is not checked:
// it is not made out to the address asked here.
import { request as overHttp } from 'node:http'
import { request as overHttps } from 'node:https'
import { isIP } from 'node:net'

const { HOST, PORT, SSL_KEY_PATH } = process.env
const everywhere = !HOST || HOST === '0.0.0.0' || HOST === '::'
const request = SSL_KEY_PATH ? overHttps : overHttp

request({
  host: everywhere ? '127.0.0.1' : HOST,
  port: PORT || 3030,
  path: '/livez',
  timeout: 4000,
  rejectUnauthorized: false,
  // A TLS name can't be an address.
  ...(SSL_KEY_PATH && (everywhere || isIP(HOST)) ? { servername: '' } : {})
}, (response) => {
  process.exit(response.statusCode === 200 ? 0 : 1)
})
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1))
  .end()
