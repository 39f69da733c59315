import t from 'tap'
import { adminKey, build } from '../support/build.ts'
import { openBrowser, personOn, visit } from '../support/browser.ts'
import { clientSite, enterOn } from '../support/client-page.ts'
import { startNginx } from '../support/nginx.ts'

t.test('client, stage and docs work below a path prefix', async (t) => {
  const browser = await openBrowser(t, 440)
  const server = await build(t, { env: { FEATURES: 'auth,media,seats,chat,lobby,stage,docs', TRUST_PROXY: '1' } })
  const { url } = await startNginx(t, [Number(new URL(server.url).port)], '/audio')
  const { origin } = new URL(url)
  t.equal((await fetch(`${origin}/livez`)).status, 404)
  const site = await clientSite(t)
  const elsewhere = await site.open(browser)
  const refused = enterOn(elsewhere, { url: `${url}?room=r1`, roomId: 'r1', id: 1 })
  await t.rejects(refused, /from the origin .* are not allowed/, 'the proxy passes the reason on')
  await elsewhere.context().close()

  const problems: string[] = []
  const ada = await visit(t, browser, `${url}/?room=r1`, {
    name: 'Ada',
    room: 'r1',
    prepare: async (page) => {
      page.on('response', (response) => { if (response.status() >= 400) problems.push(`${response.status()} ${response.url()}`) })
      page.on('console', (message) => { if (message.type() === 'error') problems.push(message.text()) })
    }
  })
  await ada.getByRole('button', { name: 'Seat 1: you' }).waitFor()
  await personOn(ada, 'Ada').waitFor()
  t.equal(server.app.sockets.size, 1)

  await ada.goto(`${url}/admin`)
  await ada.getByLabel('Admin key').fill(adminKey)
  await ada.keyboard.press('Enter')
  await ada.getByRole('link', { name: 'r1' }).waitFor()
  await ada.getByRole('link', { name: 'Stage' }).first().click()
  await ada.getByLabel('Your name').waitFor()
  t.equal(new URL(ada.url()).pathname, '/audio/')

  await ada.goto(`${url}/docs`)
  await ada.getByText('Drains this server').waitFor()
  const asked = ada.waitForRequest(/\/livez$/)
  await ada.getByText('/livez').first().click()
  await ada.getByRole('button', { name: 'Try it out' }).click()
  await ada.getByRole('button', { name: 'Execute' }).click()
  t.equal((await asked).url(), `${url}/livez`, 'Swagger UI calls the server below the prefix')
  await ada.getByRole('link', { name: 'WebSocket' }).click()
  await ada.getByRole('heading', { name: 'room:join request' }).waitFor()
  await ada.getByRole('link', { name: 'openapi.json' }).click()
  await ada.waitForURL(`${url}/docs/openapi.json`)
  t.same(problems, [])
})
