import { onScopeDispose, ref, shallowRef, watch } from 'vue'
import { codeOf, Connection } from '@flylive/audio-client'
import type { ReplyData } from '@flylive/audio-client'
import { strings } from '../strings.ts'
import { createTokenSource, serverUrl } from './identity.ts'
import type { Access, Identity } from './identity.ts'
import { troubleOf } from './refusals.ts'

export type ListedRoom = ReplyData<'lobby:list'>['rooms'][number]

/** Interval between updates of the list, in milliseconds. */
const everyMs = 3000
/** Delay between the last change to the search text and the request, in milliseconds. */
const typingMs = 300
const pageSize = 30

/**
 * Lists the occupied rooms, largest first, and updates the list while the page is visible.
 *
 * @returns the list and its state. `state` is `off` if the server does not list rooms. `trouble` explains why the list
 *   is not being updated
 */
export function useRooms (identity: Identity, access: Access) {
  const connection = new Connection({ url: serverUrl(), token: createTokenSource(identity, access) })
  const state = ref<'loading' | 'ready' | 'off'>('loading')
  const trouble = ref('')
  const rooms = shallowRef<readonly ListedRoom[]>([])
  const more = ref(false)
  const query = ref('')
  let wanted = pageSize
  let timer: ReturnType<typeof setTimeout> | undefined

  async function look (): Promise<void> {
    clearTimeout(timer)
    if (connection.state !== 'open' || document.hidden) return
    try {
      const found: ListedRoom[] = []
      const sought = query.value.trim()
      let cursor: string | undefined
      do {
        const page = await connection.request('lobby:list', { limit: pageSize, ...(cursor === undefined ? {} : { cursor }), ...(sought === '' ? {} : { query: sought }) })
        found.push(...page.rooms)
        cursor = page.nextCursor ?? undefined
      } while (cursor !== undefined && found.length < wanted)
      rooms.value = found.sort((a, b) => b.participantCount - a.participantCount)
      more.value = cursor !== undefined
      state.value = 'ready'
    } catch (error) {
      if (['UNKNOWN_TYPE', 'FEATURE_DISABLED'].includes(codeOf(error) ?? '')) {
        state.value = 'off'
        return
      }
      // Other errors are assumed to be temporary, so the next update tries again.
    }
    timer = setTimeout(look, everyMs)
  }

  connection.on('state', (now, why) => {
    // The `connecting` state comes without an error, so keep the last error until the connection is open again.
    if (now === 'open') trouble.value = ''
    else if (why) trouble.value = now === 'closed' ? `${troubleOf(why)}.` : strings.status.waiting(troubleOf(why))
    if (now === 'open') look()
  })
  connection.on('features', (features) => {
    if (!features.has('lobby')) state.value = 'off'
    else if (state.value === 'off') look()
  })
  watch(query, () => {
    clearTimeout(timer)
    timer = setTimeout(look, typingMs)
  })
  document.addEventListener('visibilitychange', look)
  connection.connect().catch(() => { /* `state` reports the reason. */ })
  onScopeDispose(() => {
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', look)
    connection.close()
  })

  return {
    state,
    trouble,
    rooms,
    more,
    /** The search text: only rooms that match are listed. */
    query,
    showMore () {
      wanted += pageSize
      look()
    }
  }
}
