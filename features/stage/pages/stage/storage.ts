/** A key-value store that survives a page reload. */
export interface Memory {
  get (name: string): string | undefined
  set (name: string, text: string): void
}

/**
 * @param open returns the browser's storage; throws if storage is blocked
 * @returns a store that keeps values in memory if it cannot write them to the browser's storage
 */
export function createMemory (open: () => Storage): Memory {
  const substitute = new Map<string, string>()
  return {
    get (name) {
      const text = substitute.get(name)
      if (text !== undefined) return text
      try {
        return open().getItem(name) ?? undefined
      } catch {
        return undefined
      }
    },
    set (name, text) {
      try {
        open().setItem(name, text)
        substitute.delete(name)
      } catch {
        substitute.set(name, text)
      }
    }
  }
}

/** Stored per browser. */
export const kept = createMemory(() => localStorage)
/** Stored per tab. */
export const keptInTab = createMemory(() => sessionStorage)
