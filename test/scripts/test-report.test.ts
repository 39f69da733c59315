import t from 'tap'
import { createReport, describeTotals } from '../../scripts/test-report.ts'

const passing = `# Subtest: test/good.test.ts
    # Subtest: adds
        ok 1 - one
        ok 2 - two
        1..2
    ok 1 - adds # time=1ms
    ok 2 - later # SKIP no ffmpeg
    ok 3 - some day # TODO
    1..3
    # time=9ms
ok 1 - test/good.test.ts # time=9ms
`

const failing = `# Subtest: test/bad.test.ts
    # Subtest: adds
        ok 1 - one
        printed by the test
        not ok 2 - two
          ---
          at:
            fileName: test/bad.test.ts
            lineNumber: 3
            columnNumber: 5
          diff: |
            -2
            +1
          ...
        1..2
    not ok 1 - adds # time=1ms
    1..1
not ok 2 - test/bad.test.ts # time=9ms
  ---
  exitCode: 1
  ...
`

const crashed = `# Subtest: test/crashed.test.ts
    ok 1 - one
    1..1
not ok 3 - test/crashed.test.ts # time=9ms
  ---
  exitCode: 7
  ...
`

async function reportOf (files: string, live = false) {
  let text = ''
  const report = createReport({ write: (part) => { text += part }, live })
  const { parser, close } = report.read()
  await new Promise<void>((resolve) => {
    parser.on('complete', () => resolve())
    parser.end(`TAP version 14\n${files}`)
  })
  close({ exitCode: null, signal: 'SIGKILL' })
  report.end()
  return { text, totals: report.totals, files: [...report.files] }
}

t.test('counts assertions at any depth, and counts skipped and todo ones separately', async (t) => {
  const { text, totals } = await reportOf(passing)
  t.same(totals, { passed: 2, failed: 0, skipped: 2 })
  t.match(text, '✔ test/good.test.ts: 2 passed, 0 failed, 2 skipped (0.0 s)')
  t.notMatch(text, 'Failed:')
})

t.test('shows path, location, difference and output of a failure', async (t) => {
  const { text, totals } = await reportOf(passing + failing)
  t.same(totals, { passed: 3, failed: 1, skipped: 2 })
  t.match(text, '✖ adds > two\n      at test/bad.test.ts:3:5\n      -2\n      +1\n')
  t.match(text, /It printed:\n +printed by the test/)
  t.match(text, '\nFailed:\n  test/bad.test.ts > adds > two\n')
})

t.test('counts a file that fails after its assertions as one failure', async (t) => {
  const { text, totals } = await reportOf(crashed)
  t.same(totals, { passed: 1, failed: 1, skipped: 0 })
  t.match(text, 'failed outside its assertions\n      exitCode: 7\n')
})

t.test('if the process is killed, reports the file that was running as failed', async (t) => {
  const { text, totals, files } = await reportOf(`${passing}# Subtest: test/killed.test.ts\n    # Subtest: adds\n        ok 1 - one\n`)
  t.same(totals, { passed: 3, failed: 1, skipped: 2 })
  t.same(files, ['test/good.test.ts', 'test/killed.test.ts'])
  t.match(text, 'failed outside its assertions\n      signal: SIGKILL\n')
})

t.test('prints the output of a long test as it arrives', async (t) => {
  const { text } = await reportOf('# Subtest: test/soak.long.ts\n    # 10 rooms\n    half way\n    ok 1 - one\n    1..1\nok 1 - test/soak.long.ts # time=1ms\n', true)
  t.ok(text.startsWith('# 10 rooms\n    half way\n✔ test/soak.long.ts'), text)
})

t.test('reports skipped tests only if there are any', async (t) => {
  t.equal(describeTotals({ passed: 12, failed: 0, skipped: 0 }), '12 passed, 0 failed')
  t.equal(describeTotals({ passed: 12, failed: 1, skipped: 3 }), '12 passed, 1 failed, 3 skipped')
})
