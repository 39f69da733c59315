import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AxeResults, RunOptions } from 'axe-core'
import type { Page } from 'playwright-core'

const source = readFileSync(join(import.meta.dirname, '..', '..', 'node_modules', 'axe-core', 'axe.min.js'), 'utf8')

/**
 * @param within a selector for the part of the page to test; smaller parts take less CPU time
 * @returns the accessibility violations of a page, each with its rule and elements
 */
export async function violationsOf (page: Page, within = 'html'): Promise<string[]> {
  // The page's Content-Security-Policy does not apply to scripts that Playwright evaluates.
  if (!await page.evaluate(() => 'axe' in globalThis)) await page.evaluate(source)
  // The details of passed rules are not needed, and collecting them takes CPU time on a large page.
  const { violations } = await page.evaluate((within) => (globalThis as unknown as { axe: { run (within: string, options: RunOptions): Promise<AxeResults> } }).axe.run(within, { resultTypes: ['violations'] }), within)
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} (${failureSummary})`).join(' ')}`)
}
