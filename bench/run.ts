// Runs all benchmarks. With arguments, runs only the benchmarks whose file names contain an argument.
//
//   npm run bench [-- NAME ...]
//
// Most benchmarks print the ratio of two durations from the same run, because absolute durations depend on the machine.
import { globSync } from 'node:fs'
import { join } from 'node:path'

const wanted = process.argv.slice(2)
for (const file of globSync('*.bench.ts', { cwd: import.meta.dirname }).sort()) {
  if (wanted.length > 0 && !wanted.some((name) => file.includes(name))) continue
  console.log(`\n${file}`)
  const { default: bench } = await import(join(import.meta.dirname, file)) as { default: () => Promise<void> }
  await bench()
}
