/**
 * Runs a sheet's action only once, even if its button is pressed again. Otherwise a gift could be charged twice.
 *
 * @param over called when the action has finished; the action has already shown its errors. An action that resolves to false may run again.
 * @returns a function that runs an action, unless it has already run one
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
