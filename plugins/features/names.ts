/**
 * The names of the kernel's plugins. In a feature's dependencies, such a name always means the kernel's plugin, even if
 * a feature has the same name.
 */
export const kernelPlugins: ReadonlySet<string> = new Set([
  'admin', 'blobs', 'clock', 'cluster', 'config', 'contract', 'directory', 'drain', 'errors', 'features', 'gate', 'greeting', 'health',
  'hooks', 'http', 'jobs', 'kv', 'messages', 'metrics', 'nodes', 'redis', 'registrations', 'rooms', 'sfu', 'sockets', 'store', 'timings', 'tls'
])

/**
 * Whether a folder name is a valid feature name. The name is used in URLs, in settings and in FEATURES. `kernel` is the
 * owner of the server's own messages.
 */
export const isName = (name: string): boolean => /^[a-z][a-z0-9-]*$/.test(name) && name !== 'kernel' && !(name in Object.prototype)
