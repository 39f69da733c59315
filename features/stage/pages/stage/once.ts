/**
 * Runs a sheet's action only once, even if its button is pressed again, because a second gift would be charged.
 *
 * @param over called when the action has ended; errors are already shown
 * @returns runs an action unless one was run before
 */
export function once (over: () => void): (deed: () => Promise<unknown>) => Promise<void> {
  let pressed = false
  return async (deed) => {
    if (pressed) return
    pressed = true
    await deed()
    over()
  }
}
