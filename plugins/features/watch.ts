import { relative, sep } from 'node:path'
import { watch } from 'chokidar'
import type { FastifyBaseLogger } from 'fastify'

/** An editor writes a file in several steps; after this time without one they are done. In milliseconds. */
const quietMs = 100

// Not the feature's own, hidden, or an editor's copy.
const ignored = /(^|[/\\])(node_modules|\.[^/\\]+)([/\\]|$)|~$/

/**
 * Tells of features whose files change.
 *
 * @param folders absolute paths of folders of features
 * @param changed gets the names of those that have changed since the last call
 * @returns once every change from now on is seen
 */
export async function watchFeatures (folders: readonly string[], changed: (names: string[]) => Promise<void>, log: FastifyBaseLogger): Promise<{ close (): Promise<void> }> {
  const names = new Set<string>()
  let timer: NodeJS.Timeout | undefined
  const inFolder = (path: string) => relative(folders.find((one) => path.startsWith(one + sep)) ?? path, path)
  const watcher = watch([...folders], { ignoreInitial: true, ignored: (path) => ignored.test(inFolder(path)) })
  watcher.on('all', (_event, path) => {
    const [name = ''] = inFolder(path).split(sep)
    if (name === '') return
    names.add(name)
    clearTimeout(timer)
    timer = setTimeout(() => {
      const now = [...names]
      names.clear()
      changed(now).catch((err: unknown) => log.error({ err }, 'changed features could not be loaded'))
    }, quietMs)
  })
  watcher.on('error', (err) => log.warn({ err }, 'changes of features may not be seen'))
  await new Promise<void>((resolve) => watcher.once('ready', resolve))
  return {
    async close () {
      clearTimeout(timer)
      await watcher.close()
    }
  }
}
