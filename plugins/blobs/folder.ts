import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { checkedKey } from './blobs.ts'
import type { BlobInfo, Blobs } from './blobs.ts'

const isMissing = (error: unknown) => ['ENOENT', 'ENOTDIR', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')

/** Minimum age at which an unfinished file counts as left over from a crash, in milliseconds. */
const unfinishedMs = 24 * 60 * 60 * 1000

export interface FolderBlobs extends Blobs {
  /** Removes unfinished files that a crash left behind. */
  removeUnfinished (): Promise<void>
}

/** Flushes a directory to disk, so that a rename survives a crash. */
async function syncFolder (folder: string): Promise<void> {
  const handle = await open(folder)
  await handle.sync().finally(() => handle.close())
}

/**
 * Stores blobs as files in a folder. Unfinished files are in a subfolder that no valid key can refer to.
 *
 * @param root the folder; created when the first blob is stored
 */
export function createFolderBlobs (root: string): FolderBlobs {
  const unfinished = join(root, '.unfinished')

  /** @throws TypeError if the key is not valid */
  const pathOf = (key: string) => join(root, checkedKey(key))

  return {
    async put (key, stream) {
      const path = pathOf(key)
      await mkdir(unfinished, { recursive: true })
      const temporary = join(unfinished, randomUUID())
      const handle = await open(temporary, 'wx')
      try {
        // With `flush`, the stream syncs the file to disk before closing the file.
        const file = handle.createWriteStream({ flush: true })
        await pipeline(stream, file)
        await mkdir(dirname(path), { recursive: true })
        await rename(temporary, path)
        await syncFolder(dirname(path))
        return file.bytesWritten
      } catch (error) {
        await rm(temporary, { force: true })
        throw error
      }
    },
    async get (key, range) {
      const path = pathOf(key)
      try {
        const handle = await open(path)
        if ((await handle.stat()).isFile()) return handle.createReadStream(range && { start: range.first, end: range.last })
        await handle.close()
      } catch (error) {
        if (!isMissing(error)) throw error
      }
    },
    async list (prefix) {
      const folder = prefix === undefined ? root : pathOf(prefix)
      const found = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
        if (isMissing(error)) return []
        throw error
      })
      const blobs: BlobInfo[] = []
      for (const entry of found) {
        if (!entry.isFile() || entry.parentPath === unfinished) continue
        const path = join(entry.parentPath, entry.name)
        // The file may have been deleted since it was listed.
        const stats = await stat(path).catch(() => undefined)
        if (stats) blobs.push({ key: relative(root, path).split(sep).join('/'), bytes: stats.size, modifiedAt: Math.round(stats.mtimeMs) })
      }
      return blobs.sort((a, b) => a.key < b.key ? -1 : 1)
    },
    async delete (key) {
      await rm(pathOf(key), { force: true }).catch((error: unknown) => { if (!isMissing(error)) throw error })
    },
    async removeUnfinished () {
      const names = await readdir(unfinished).catch(() => [])
      for (const name of names) {
        const path = join(unfinished, name)
        const stats = await stat(path).catch(() => undefined)
        if (stats && stats.mtimeMs < Date.now() - unfinishedMs) await rm(path, { force: true })
      }
    }
  }
}
