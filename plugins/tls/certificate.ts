import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { SecureContextOptions } from 'node:tls'
import { StartError } from '../../config/error.ts'

/** The PEM files of a key and its certificate chain. */
export interface TlsFiles {
  keyPath: string
  certPath: string
}

/**
 * Only cipher suites with forward secrecy (with TLS 1.2: ECDHE) and authenticated encryption (AES-GCM or
 * ChaCha20-Poly1305).
 */
const ciphers = [
  'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'
].join(':')

export interface TlsOptions extends SecureContextOptions {
  key: Buffer
  cert: Buffer
}

/**
 * @returns the server's TLS options
 * @throws {StartError} if a file cannot be read, or if the key does not match the certificate
 */
export function readTls ({ keyPath, certPath }: TlsFiles): TlsOptions {
  const key = attempt(`SSL_KEY_PATH: ${keyPath} cannot be read`, () => readFileSync(keyPath))
  const cert = attempt(`SSL_CERT_PATH: ${certPath} cannot be read`, () => readFileSync(certPath))
  const certificate = attempt(`SSL_CERT_PATH: ${certPath} must be a PEM file with a certificate`, () => new X509Certificate(cert))
  const privateKey = attempt(`SSL_KEY_PATH: ${keyPath} must be a PEM file with a private key that is not encrypted`, () => createPrivateKey(key))
  if (!certificate.checkPrivateKey(privateKey)) throw new StartError(`SSL_KEY_PATH: the key in ${keyPath} does not match the certificate in ${certPath}`)
  const options: TlsOptions = { key, cert, ciphers, minVersion: 'TLSv1.2', honorCipherOrder: true }
  attempt(`SSL_CERT_PATH: ${certPath} cannot be used`, () => createSecureContext(options))
  return options
}

/**
 * @param what the start of the error message, before the reason
 * @throws {StartError} if the call fails
 */
function attempt<T> (what: string, call: () => T): T {
  try {
    return call()
  } catch (cause) {
    throw new StartError(`${what}: ${(cause as Error).message}`, { cause })
  }
}

/** @returns the fields that identify a certificate in logs */
export function describeCertificate ({ cert }: TlsOptions): { subject: string, validTo: string, fingerprint: string } {
  const { subject, validTo, fingerprint256 } = new X509Certificate(cert)
  return { subject, validTo, fingerprint: fingerprint256 }
}
