import { ref } from 'vue'
import { tellProblem } from './news.ts'

/** One thing at a time: what is asked for while another is done is not done. */
export function useAction () {
  /** The name of what is being done; empty when nothing is. */
  const busy = ref('')

  /** @param todo tells what came of it; what it throws is told, too */
  async function act (name: string, todo: () => Promise<void>): Promise<void> {
    if (busy.value !== '') return
    busy.value = name
    try {
      await todo()
    } catch (error) {
      tellProblem(error)
    } finally {
      busy.value = ''
    }
  }
  return { busy, act }
}
