/**
 * Runs a sheet's action only once, even if its button is pressed again. Otherwise a gift could be charged twice.
 *
 * @param over called when the action has resolved, unless it resolved to false
 * @returns a function that runs an action and then ignores later calls; an action that resolves to false may be run again
 */
export function once (over: () => void): (deed: () => Promise<unknown>) => Promise<void> {
  let pressed = false
  return async (deed) => {
    if (pressed) return
    pressed = true
    if (await deed() === false) pressed = false
    else over()
  }
}
