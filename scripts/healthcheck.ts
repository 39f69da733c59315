// Checks /livez of the server in this container. Exits with 0 if the server responds.
//
//   node scripts/healthcheck.ts
//
// Reads the server's environment and, like the server, the .env file in the working directory. The certificate is not
// verified, because the certificate is not issued for this address.
import { request as overHttp } from 'node:http'
import { request as overHttps } from 'node:https'
import { isIP } from 'node:net'
import { readEnvFile } from '../config/env-file.ts'

const { HOST, PORT, SSL_KEY_PATH } = { ...readEnvFile('.env'), ...process.env }
const everywhere = !HOST || HOST === '0.0.0.0' || HOST === '::'
const request = SSL_KEY_PATH ? overHttps : overHttp

request({
  host: everywhere ? '127.0.0.1' : HOST,
  port: PORT || 3030,
  path: '/livez',
  timeout: 4000,
  rejectUnauthorized: false,
  // TLS server names must not be IP addresses.
  ...(SSL_KEY_PATH && (everywhere || isIP(HOST)) ? { servername: '' } : {})
}, (response) => {
  process.exit(response.statusCode === 200 ? 0 : 1)
})
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1))
  .end()
