/** HTML that is already escaped. */
export interface Html {
  readonly html: string
}

type Value = string | number | Html | readonly Html[]

/** A template tag that builds HTML. It escapes all values except those of type {@link Html}. */
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

/** Converts text to HTML. The text can contain `code` and **strong** parts. */
export function inline (text: string): Html {
  const pieces = text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith('`')) return html`<code>${part.slice(1, -1)}</code>`
    return part.startsWith('**') ? html`<strong>${part.slice(2, -2)}</strong>` : html`${part}`
  })
  return html`${pieces}`
}

/** Splits text into paragraphs at blank lines, and converts each paragraph to HTML with {@link inline}. */
export function paragraphs (text: string): Html {
  return html`${text.split('\n\n').map((part) => html`<p>${inline(part)}</p>`)}`
}
