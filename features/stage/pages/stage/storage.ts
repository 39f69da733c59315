/** Texts that outlive the page. */
export interface Memory {
  get (name: string): string | undefined
  set (name: string, text: string): void
}

/**
 * @param open gives the browser's storage, which throws where somebody has blocked it
 * @returns the storage, or what serves in its place for as long as the page is there
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

/** For this browser. */
export const kept = createMemory(() => localStorage)
/** For this tab. */
export const keptInTab = createMemory(() => sessionStorage)
