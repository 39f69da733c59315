/** A piece of a page that needs no escaping any more. */
export interface Html {
  readonly html: string
}

type Value = string | number | Html | readonly Html[]

/** Makes a piece of a page: whatever is put in is escaped, unless it is such a piece itself. */
export function html (strings: TemplateStringsArray, ...values: readonly Value[]): Html {
  return { html: strings.map((text, i) => text + (i < values.length ? write(values[i] as Value) : '')).join('') }
}

function write (value: Value): string {
  if (Array.isArray(value)) return (value as readonly Html[]).map((piece) => piece.html).join('')
  return typeof value === 'object' ? (value as Html).html : escape(String(value))
}

function escape (text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** Text with `code` and **strong** parts, as descriptions have it. */
export function inline (text: string): Html {
  const pieces = text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith('`')) return html`<code>${part.slice(1, -1)}</code>`
    return part.startsWith('**') ? html`<strong>${part.slice(2, -2)}</strong>` : html`${part}`
  })
  return html`${pieces}`
}

/** Paragraphs of such text, which an empty line parts. */
export function paragraphs (text: string): Html {
  return html`${text.split('\n\n').map((part) => html`<p>${inline(part)}</p>`)}`
}
