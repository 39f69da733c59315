// Preloaded into a server (NODE_OPTIONS=--import=…) to change the server's clock: by CLOCK_SHIFT_MS at the start, and
// by a further CLOCK_STEP_MS on each SIGWINCH. The monotonic clock is unaffected.

const { CLOCK_SHIFT_MS = '0', CLOCK_STEP_MS = '0' } = process.env
let shiftMs = Number(CLOCK_SHIFT_MS)
const actual = Date.now
const timeOrigin = performance.timeOrigin + shiftMs

Date.now = () => actual() + shiftMs
globalThis.Date = new Proxy(Date, {
  construct: (target, args: [], newTarget) => Reflect.construct(target, args.length === 0 ? [actual() + shiftMs] : args, newTarget) as Date
})
Object.defineProperty(performance, 'timeOrigin', { value: timeOrigin })
process.on('SIGWINCH', () => { shiftMs += Number(CLOCK_STEP_MS) })
