/**
 * What a sheet offers is done once, however often it is pressed: a second gift
 * would be paid for, too.
 *
 * @param over called when that is done, whatever came of it; why it failed has been shown then
 * @returns does a deed, if it is the first
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
