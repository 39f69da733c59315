import t from 'tap'
import { Registrations, RegistrationTable } from '../../plugins/registrations.ts'

const handler = async () => {}

/** @returns the registrations of an owner that handles the given jobs */
function handling (owner: string, ...jobs: readonly string[]): Registrations {
  const registrations = new Registrations(owner)
  for (const job of jobs) registrations.add('job', job, handler)
  return registrations
}

function tableWith (...owners: readonly Registrations[]) {
  const table = new RegistrationTable()
  for (const registrations of owners) table.install(registrations.owner, registrations)
  const jobs = table.inService('job')
  return { table, jobs, ownersOf: (job: string) => jobs.get(job)?.map(({ owner }) => owner) }
}

t.test('puts registrations into service when they are installed', async (t) => {
  const { table, jobs, ownersOf } = tableWith()
  const chat = handling('chat', 'tidy')
  t.notOk(jobs.has('tidy'))
  table.install('chat', chat)
  t.same(ownersOf('tidy'), ['chat'])
  chat.add('job', 'later', handler)
  t.same(ownersOf('later'), ['chat'], 'adds later registrations at once')
})

t.test('replaces all registrations of an owner', async (t) => {
  const old = handling('chat', 'both', 'old')
  const { table, jobs, ownersOf } = tableWith(old, handling('seats', 'both'))
  table.install('chat', handling('chat', 'both', 'new'))
  t.same([...jobs.keys()].sort(), ['both', 'new'])
  t.same(ownersOf('both'), ['chat', 'seats'], 'the owner keeps its place')
  old.add('job', 'late', handler)
  t.notOk(jobs.has('late'), 'the old generation can add nothing')
  table.install('chat', undefined)
  t.same([...jobs.keys()], ['both'])
})

t.test('lists the kernel first', async (t) => {
  const { table, ownersOf } = tableWith(handling('chat', 'tidy'))
  table.kernel.add('job', 'tidy', handler)
  t.same(ownersOf('tidy'), ['kernel', 'chat'])
})

t.test('removes single registrations', async (t) => {
  const chat = handling('chat', 'tidy')
  const { jobs, ownersOf } = tableWith(chat)
  const remove = chat.add('job', 'tidy', handler)
  t.same(ownersOf('tidy'), ['chat', 'chat'])
  remove()
  t.same(ownersOf('tidy'), ['chat'])
  chat.end()
  t.notOk(jobs.has('tidy'))
  remove()
  t.notOk(jobs.has('tidy'))
})

t.test('retains only the given kinds', async (t) => {
  const chat = handling('chat', 'tidy')
  chat.add('clusterMessage', 'tidied', () => {})
  const { table, jobs } = tableWith(chat)
  chat.retain('clusterMessage')
  t.notOk(jobs.has('tidy'))
  t.ok(table.inService('clusterMessage').has('tidied'))
})

t.test('never changes a list that it has returned', async (t) => {
  const { table, jobs } = tableWith(handling('chat', 'both', 'own'), handling('seats', 'both'))
  const [both, own] = [jobs.get('both'), jobs.get('own')]
  table.install('seats', undefined)
  t.equal(both?.length, 2)
  t.equal(jobs.get('both')?.length, 1)
  t.equal(jobs.get('own'), own, 'a list that stays the same is not replaced')
})
