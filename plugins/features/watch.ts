import { relative, sep } from 'node:path'
import { watch } from 'chokidar'
import type { FastifyBaseLogger } from 'fastify'

/**
 * Editors save a file in several steps. A change counts as complete when the file has not changed again for this many
 * milliseconds.
 */
const quietMs = 100

// Changes to dependencies, hidden files and editor backups are ignored.
const ignored = /(^|[/\\])(node_modules|\.[^/\\]+)([/\\]|$)|~$/

/**
 * Watches the files of features. Resolves when the watcher is ready.
 *
 * @param folders absolute paths of the folders that contain features
 * @param changed receives the names of the features whose files changed since the last call
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
      changed(now).catch((err: unknown) => log.error({ err }, 'failed to load changed features'))
    }, quietMs)
  })
  watcher.on('error', (err) => log.warn({ err }, 'file watcher failed: changes to features may be missed'))
  await new Promise<void>((resolve) => watcher.once('ready', resolve))
  return {
    async close () {
      clearTimeout(timer)
      await watcher.close()
    }
  }
}
