import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import type { SecureContextOptions } from 'node:tls'

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
 * @throws if a file cannot be read, or if the key does not match the certificate
 */
export function readTls ({ keyPath, certPath }: TlsFiles): TlsOptions {
  const options: TlsOptions = { key: readFileSync(keyPath), cert: readFileSync(certPath), ciphers, minVersion: 'TLSv1.2', honorCipherOrder: true }
  createSecureContext(options)
  // Check the key here, because OpenSSL accepts any key if the certificate file is empty.
  if (!new X509Certificate(options.cert).checkPrivateKey(createPrivateKey(options.key))) throw new Error('the key does not match the certificate')
  return options
}

/** @returns the fields that identify a certificate in logs */
export function describeCertificate ({ cert }: TlsOptions): { subject: string, validTo: string, fingerprint: string } {
  const { subject, validTo, fingerprint256 } = new X509Certificate(cert)
  return { subject, validTo, fingerprint: fingerprint256 }
}
