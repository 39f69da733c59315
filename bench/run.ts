// Runs all benchmarks, or those whose name contains an argument.
//
//   npm run bench [-- NAME ...]
//
// Each benchmark prints ratios within its own run: absolute times of one machine do not
// transfer to another.
import { globSync } from 'node:fs'
import { join } from 'node:path'

const wanted = process.argv.slice(2)
for (const file of globSync('*.bench.ts', { cwd: import.meta.dirname }).sort()) {
  if (wanted.length > 0 && !wanted.some((name) => file.includes(name))) continue
  console.log(`\n${file}`)
  const { default: bench } = await import(join(import.meta.dirname, file)) as { default: () => Promise<void> }
  await bench()
}
