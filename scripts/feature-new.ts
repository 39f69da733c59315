// Creates a working feature with a test, as a starting point.
//
//   npm run feature:new NAME                  features/NAME and test/features/NAME
//   npm run feature:new NAME -- --into DIR    DIR/NAME with its test, for FEATURES_PATH
//
// The files are copied from feature-template/, which is itself a working feature. For the next steps, see
// docs/writing-features.md.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { isName, kernelPlugins } from '../plugins/features/names.ts'

const root = resolve(import.meta.dirname, '..')
const template = join(import.meta.dirname, 'feature-template')
// npm runs scripts in the project's folder; INIT_CWD is the folder in which the user called npm.
const here = process.env.INIT_CWD ?? process.cwd()

const sample = 'sample-feature'
const usage = 'npm run feature:new NAME [-- --into DIR]'

class Refusal extends Error {}

/** The files to write and the next steps to print. */
interface Plan {
  name: string
  /** The template file for each destination path. */
  files: Record<string, string>
  /** Whether the test's server needs FEATURES_PATH to find the feature. */
  findIt: boolean
  next: readonly string[]
}

/** @throws {Refusal} if the arguments are invalid or the feature exists */
function plan (): Plan {
  const { name, into } = read()
  if (!isName(name)) throw new Refusal(`${name} is not a valid feature name: use lowercase letters, digits and dashes, starting with a letter, as in my-feature`)
  if (kernelPlugins.has(name)) throw new Refusal(`${name} is the name of a part of the server: use another name`)
  const folder = into === undefined ? join(root, 'features', name) : join(resolve(here, into), name)
  const tests = into === undefined ? join(root, 'test', 'features', name) : folder
  for (const taken of [folder, join(root, 'features', name), tests]) {
    if (existsSync(taken)) throw new Refusal(`Feature ${name} already exists: ${taken}`)
  }
  const test = join(tests, `${name}.test.ts`)
  return {
    name,
    files: {
      [join(folder, 'index.ts')]: 'index.ts',
      [join(folder, 'messages.ts')]: 'messages.ts',
      [join(folder, 'errors.ts')]: 'errors.ts',
      [test]: `${sample}.test.ts`
    },
    findIt: into !== undefined,
    next: into === undefined ? nextHere(name, test) : nextOutside(dirname(folder), test)
  }
}

function read (): { name: string, into: string | undefined } {
  try {
    const { values: { into }, positionals: [name, ...more] } = parseArgs({ options: { into: { type: 'string' } }, allowPositionals: true })
    if (name !== undefined && more.length === 0) return { name, into }
  } catch { /* The command line has an unknown option. */ }
  throw new Refusal(usage)
}

function nextHere (name: string, test: string): string[] {
  const rows = [
    ['npm start', 'runs the feature; in development, each save reloads it'],
    [`npm run features -- reload ${name}`, 'reloads the feature if its files are not watched'],
    [`npm test -- ${relative(root, test)}`, 'runs the test']
  ]
  const width = Math.max(...rows.map(([command = '']) => command.length))
  return rows.map(([command = '', what]) => `${command.padEnd(width)}  ${what}`)
}

function nextOutside (folder: string, test: string): string[] {
  const link = join(folder, 'node_modules', 'flylive-audio-server')
  return [
    `In ${root}:`,
    `FEATURES_PATH=${folder} npm start`,
    '',
    'Create this link once, for the test and for the types in your editor. Then run the test:',
    `mkdir -p ${dirname(link)} && ln -s ${root} ${link}`,
    `node ${test}`
  ]
}

/** Replaces the template's name with the feature's name, in kebab-case, snake_case and UPPER_CASE. */
function named (text: string, name: string): string {
  const inSnakeCase = (kebab: string) => kebab.replaceAll('-', '_')
  return text
    .replaceAll(sample, name)
    .replaceAll(inSnakeCase(sample), inSnakeCase(name))
    .replaceAll(inSnakeCase(sample).toUpperCase(), inSnakeCase(name).toUpperCase())
}

/** Sets FEATURES_PATH in the test so that the test's server finds the feature next to the test. */
const findingIt = (text: string) => "import { join } from 'node:path'\n" + text.replace(/(?<=^const env = \{.*)(?= \}$)/m, ", FEATURES_PATH: join(import.meta.dirname, '..')")

try {
  const { name, files, findIt, next } = plan()
  for (const [path, file] of Object.entries(files)) {
    const text = named(readFileSync(join(template, file), 'utf8'), name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, findIt && path.endsWith('.test.ts') ? findingIt(text) : text)
    console.log(relative(here, path).startsWith('..') ? path : relative(here, path))
  }
  console.log(`\nNext steps (details in docs/writing-features.md):\n\n${next.map((line) => line === '' ? '' : `  ${line}`).join('\n')}\n`)
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  console.error(error.message)
  process.exitCode = 1
}
