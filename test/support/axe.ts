import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'

const source = readFileSync(join(import.meta.dirname, '..', '..', 'node_modules', 'axe-core', 'axe.min.js'), 'utf8')

/** @returns what keeps people from using a page as it is now: the rule, and where */
export async function violationsOf (page: Page): Promise<string[]> {
  // A test may do what the page's own policy forbids the page.
  await page.evaluate(source)
  const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: { run (): Promise<AxeResults> } }).axe.run())
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} (${failureSummary})`).join(' ')}`)
}
