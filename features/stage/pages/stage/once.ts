/**
 * Prevents a second press of a button from running its action again, so that no gift is charged twice.
 *
 * @param over called after the action resolves to a value other than false
 * @returns a function that runs an action. It ignores later calls, unless the action resolved to false
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
