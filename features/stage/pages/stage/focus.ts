import type { ObjectDirective } from 'vue'

/** What the focus goes to where nothing else is left: the room's heading. */
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
 * Keeps the focus near when the button that has it goes away, as when Speak becomes Mute: a browser begins
 * at the top of the page again, which nobody finds who uses a keyboard or has the page read aloud.
 */
export const vKeepFocus: ObjectDirective<HTMLElement> = {
  beforeUpdate: remember,
  updated: restore,
  beforeUnmount: remember,
  unmounted: restore
}
