import type { ObjectDirective } from 'vue'

/** The element that receives the focus if there is no nearby element: the room's heading. */
const home = 'h1[tabindex]'
const inside = new WeakSet<Element>()

function remember (element: HTMLElement): void {
  if (element.contains(document.activeElement)) inside.add(element)
  else inside.delete(element)
}

function restore (element: HTMLElement): void {
  if (!inside.delete(element) || (document.activeElement ?? document.body) !== document.body) return
  const next = element.isConnected ? element.querySelector<HTMLElement>('button:not(:disabled), input') : null
  const target = next ?? document.querySelector<HTMLElement>(home)
  target?.focus()
}

/**
 * Moves the focus to a nearby element when the focused button disappears, for example when Mute replaces Speak. Without
 * this directive, browsers move the focus to the top of the page.
 */
export const vKeepFocus: ObjectDirective<HTMLElement> = {
  beforeUpdate: remember,
  updated: restore,
  beforeUnmount: remember,
  unmounted: restore
}
