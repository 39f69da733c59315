import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')

/** Frees all memory that is no longer in use. */
export const collectGarbage = runInNewContext('gc') as () => void
