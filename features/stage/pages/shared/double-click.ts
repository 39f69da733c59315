/** The attribute of buttons whose label changes with each press, and which users press several times in quick succession. */
const repeatable = 'data-repeatable'

/**
 * Ignores the second click of a double-click on a button that the first click has brought under the pointer, or whose
 * label the first click has changed. Otherwise, a double-click would confirm an action that the page is still asking
 * about, or would press a button of a dialog that has just opened.
 */
export function ignoreStrayClicks (): void {
  let last: Element | null = null
  let lastLabel = ''
  document.addEventListener('click', (event) => {
    const button = (event.target as Element).closest('button')
    const label = button?.textContent ?? ''
    const isStray = event.detail > 1 && button !== null && (button !== last || (label !== lastLabel && !button.hasAttribute(repeatable)))
    if (isStray) {
      event.preventDefault()
      event.stopImmediatePropagation()
      return
    }
    last = button
    lastLabel = label
  }, { capture: true })
}
