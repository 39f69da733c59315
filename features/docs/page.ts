import type { AsyncApi } from './asyncapi.ts'
import { fieldsOf, typeOf } from './fields.ts'
import { html, inline, paragraphs } from './html.ts'
import type { Html } from './html.ts'
import { sharedSchemas } from './json-schema.ts'
import type { JsonSchema } from './json-schema.ts'
import { connectionLimits, groupsOf, limitText } from './overview.ts'
import type { Entry } from './overview.ts'

const nothing = html``
// This element sets the width of both columns, because the first row of some tables has only one cell.
const columns = html`<colgroup><col class="name"><col></colgroup>`

/**
 * The layout of all pages under /docs. The layout needs no scripts and loads no files from other servers.
 *
 * @param root the relative URL of the server's root. It must be relative, because a proxy may serve the pages under a
 *   path prefix
 */
function frame (root: string, title: string, head: Html, body: Html): string {
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:,">
${head}
</head>
<body>
<header class="top">
<strong>FlyLive Audio Server</strong>
<nav aria-label="Documents">
<a href="${root}docs">HTTP</a>
<a href="${root}docs/messages">WebSocket</a>
<a href="${root}docs/openapi.json">openapi.json</a>
<a href="${root}docs/asyncapi.json">asyncapi.json</a>
</nav>
</header>
${body}
</body>
</html>
`.html
}

/** GET /docs: Swagger UI, which loads the OpenAPI document. */
export function httpPage (): string {
  return frame('./', 'FlyLive Audio Server: HTTP', html`<link rel="stylesheet" href="./docs/swagger-ui.css">
<link rel="stylesheet" href="./docs/docs.css">
<script src="./docs/swagger-ui-bundle.js" defer></script>
<script src="./docs/http.js" defer></script>`, html`<main id="swagger-ui"><noscript><p>This page requires JavaScript. The document is <a href="./docs/openapi.json">openapi.json</a>.</p></noscript></main>`)
}

/** GET /docs/messages: all WebSocket messages, as HTML. */
export function messagesPage (document: AsyncApi): string {
  const { info, components, 'x-error-codes': errorCodes, 'x-close-codes': closeCodes } = document
  const { schemas } = components
  const groups = groupsOf(document)
  const link = ({ anchor, type, kind }: Entry) => html`<li><a href="#${anchor}">${type}</a>${kind === 'event' ? html` <small>event</small>` : nothing}</li>`

  return frame('../', info.title, html`<link rel="stylesheet" href="../docs/docs.css">`, html`<div class="columns">
<nav class="contents" aria-label="Contents">
<details>
<summary>Contents</summary>
<p><a href="#frames">Frames</a> · <a href="#types">Shared types</a> · <a href="#errors">Error codes</a> · <a href="#close-codes">Close codes</a></p>
${groups.map(({ owner, entries }) => html`<h2><a href="#feature-${owner}">${owner}</a></h2><ul>${entries.map(link)}</ul>`)}
</details>
</nav>
<main>
<h1>${info.title}</h1>
<p class="version">Version ${info.version}. Messages of: ${groups.map(({ owner }) => owner).join(', ')}.</p>
<section id="frames"><h2>Frames</h2>
${paragraphs(info.description)}
<ul>${connectionLimits(document).map((sentence) => html`<li>${sentence}</li>`)}</ul>
</section>
${groups.map(({ owner, entries }) => html`<section id="feature-${owner}"><h2>${owner}</h2>
${entries.map((entry) => article(entry, schemas))}
</section>`)}
<section id="types"><h2>Shared types</h2>
${Object.keys(sharedSchemas).map((name) => html`<article id="${name}"><h3>${name}</h3>
<p><span class="type">${typeOf(schemas[name] ?? {}, schemas)}</span> ${inline(schemas[name]?.description ?? '')}${schemas[name]?.pattern === undefined ? nothing : html` <code>${schemas[name]?.pattern ?? ''}</code>`}</p>
${fields(schemas[name] ?? {}, schemas, nothing)}</article>`)}
</section>
<section id="errors"><h2>Error codes</h2>
<table>${columns}<thead><tr><th>Code</th><th>Meaning</th></tr></thead><tbody>
${errorCodes.map(({ code, status, feature, meaning }) => html`<tr id="${code}"><th scope="row"><code>${code}</code><span class="type">HTTP ${status} · ${feature}</span></th><td>${inline(meaning)}</td></tr>`)}
</tbody></table></section>
<section id="close-codes"><h2>Close codes</h2>
<table>${columns}<thead><tr><th>Code</th><th>Meaning</th></tr></thead><tbody>
${closeCodes.map(({ code, reason, meaning }) => html`<tr><th scope="row"><code>${code}</code><span class="type">${reason}</span></th><td>${meaning}</td></tr>`)}
</tbody></table></section>
</main>
</div>`)
}

function article (entry: Entry, schemas: Readonly<Record<string, JsonSchema>>): Html {
  const { anchor, kind, type, operation, data, example, reply } = entry
  const notes = kind === 'request' ? [operation['x-room'] === true ? 'The sender must be in a room.' : '', limitText(operation)].filter(Boolean).join(' ') : ''
  return html`<article id="${anchor}">
<h3><a href="#${anchor}"><code>${type}</code></a> <small class="${kind}">${kind}</small></h3>
${operation.summary === undefined ? nothing : html`<p>${inline(operation.summary)}</p>`}
${notes === '' ? nothing : html`<p class="notes">${notes}</p>`}
${fields(data, schemas, html`<p class="notes">Data: ${data.properties ? 'none' : typeOf(data, schemas)}.</p>`)}
${reply === undefined ? nothing : html`<h4>Reply</h4>${fields(reply.data, schemas, html`<p class="notes">Data: none.</p>`)}`}
<details><summary>Example</summary>
<pre tabindex="0">${frameText(kind === 'request' ? '→' : '←', example)}${reply === undefined ? '' : `\n${frameText('←', reply.example)}`}</pre>
</details>
</article>`
}

const frameText = (arrow: string, example: unknown) => `${arrow} ${JSON.stringify(example, null, 2)}`

function fields (schema: JsonSchema, schemas: Readonly<Record<string, JsonSchema>>, none: Html): Html {
  const rows = fieldsOf(schema, schemas)
  if (rows.length === 0) return none
  return html`<table>${columns}<tbody>${rows.map(({ path, type, required, text }) => {
    const field = html`<code>${path}</code>${required ? nothing : html`<span class="optional">optional</span>`}<span class="type">${type}</span>`
    return text === '' ? html`<tr><th scope="row" colspan="2">${field}</th></tr>` : html`<tr><th scope="row">${field}</th><td>${inline(text)}</td></tr>`
  })}</tbody></table>`
}
