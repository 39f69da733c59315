import t from 'tap'
import { measureSwitching } from './switching.ts'

// A listener takes a seat, speaks and leaves the seat 100 times.

t.setTimeout(900_000)

const { run } = await measureSwitching(t)
const result = await run(100)
t.comment(JSON.stringify(result))
t.ok(result.gapMs <= 200, `longest silence ${result.gapMs} ms in ${result.seconds} s`)
t.ok(result.jumpMs <= 200, `at most ${result.jumpMs} ms repeated or skipped`)
