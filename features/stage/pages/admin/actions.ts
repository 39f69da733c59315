import { ref } from 'vue'
import { clearError, showError } from './news.ts'

/** Runs one action at a time; a second action is ignored while the first is pending. */
export function useAction () {
  /** Name of the pending action; empty if no action is pending. */
  const busy = ref('')

  /** @param todo runs the action; if it throws, the error is shown to the user */
  async function act (name: string, todo: () => Promise<void>): Promise<void> {
    if (busy.value !== '') return
    busy.value = name
    clearError()
    try {
      await todo()
    } catch (error) {
      showError(error)
    } finally {
      busy.value = ''
    }
  }
  return { busy, act }
}
