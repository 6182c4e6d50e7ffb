import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { metrics } from '../../schemas/metrics.ts'
import { cellLookupKey, fieldClasses, gridName, parsePolicyBundle, type PolicyBundle } from '../../schemas/policy.ts'
import { ROOT } from '../helpers/site.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- files of a bundle as written, edited freely by tests
type Files = Record<'manifest' | 'schemas' | 'policies' | 'enums' | 'destinations' | 'caps', any>

const read = (path: string): unknown => JSON.parse(readFileSync(join(ROOT, path), 'utf8'))
const shipped = (): Files => ({
  manifest: read('policy/manifest.json'),
  schemas: read('schemas/avro/window-summary.avsc'),
  policies: read('policy/policies.json'),
  enums: read('policy/enums.json'),
  destinations: read('policy/destinations.json'),
  caps: read('policy/caps.json'),
})

function parse(edit: (files: Files) => void = () => {}): PolicyBundle {
  const files = shipped()
  edit(files)
  return parsePolicyBundle(files, '0'.repeat(64))
}

const permit = (f: Files, metric: string) => f.policies.permit.find((p: { metric: string }) => p.metric === metric)

test('policy: the starter bundle is sound, unsigned wherever it is named, and frozen', (t) => {
  const bundle = parse()
  t.is(bundle.signature, 'unsigned')
  t.is(bundle.site, 'hall-1')
  t.true(bundle.permits.has('hw.gpu.utilization') && bundle.denials.has('hw.gpu.memory.limit'))
  t.is(bundle.minContributors.tenant, 10)
  t.true(Object.isFrozen(bundle))
})

test('policy: every field of the exportable schema has a class, and those that never leave are `never` (E27)', (t) => {
  const classes = parse().classes
  t.true([...classes.values()].every((c) => c.domain !== '' && c.scale !== ''))
  for (const field of ['min', 'max', 'last', 'lastMs', 'contributorFacts', 'contributors', 'devices', 'sources', 'parametersHash', 'id'])
    t.is(classes.get(field)?.class, 'never', field)
  t.is(classes.get('histogram')?.class, 'restricted')
})

test('policy: a field without a class is never, a class nobody knows is refused (E01)', (t) => {
  t.is(fieldClasses({ fields: [{ name: 'added' }] }).get('added')?.class, 'never')
  t.throws(() => fieldClasses({ fields: [{ name: 'added', 'x-class': 'public' }] }), { message: /SLU_EGRESS_POLICY/ })
  t.throws(() => fieldClasses(null), { message: /SLU_EGRESS_POLICY/ })
})

const refused: [string, RegExp, (f: Files) => void][] = [
  ['a tenant group below 10 (E06)', /minContributors.tenant/, (f) => (f.policies.minContributors.tenant = 9)],
  ['an unknown key', /unrecognized|Unrecognized/, (f) => (f.policies.extra = 1)],
  ['a metric that does not exist', /no such metric/, (f) => (permit(f, 'hw.power').metric = 'hw.powr')],
  ['a metric of the prototype (E03)', /no such metric/, (f) => (permit(f, 'hw.errors').metric = 'constructor')],
  ['a metric twice: two grids (E08)', /permitted twice/, (f) => f.policies.permit.push({ ...permit(f, 'hw.temperature') })],
  ['a metric permitted and denied', /permitted and denied/, (f) => f.policies.deny.push({ metric: 'hw.power', why: '' })],
  ['a grid that is not listed', /grid 1m/, (f) => (permit(f, 'hw.power').grid = '1m')],
  ['a grid under another name (E08)', /is called 5s/, (f) => (f.enums.grids = { '5s': 5000, '5000ms': 5000 })],
  ['a cell that is not listed', /cell nowhere/, (f) => permit(f, 'hw.power').cells.push('nowhere')],
  ['a cell id twice', /cell id stands twice/, (f) => f.enums.cells.push({ ...f.enums.cells[0], pool: 'other' })],
  ['two cells of the same labels', /same pool and attributes/, (f) => f.enums.cells.push({ ...f.enums.cells[0], id: 'other' })],
  ['the reserved cell', /reserved/, (f) => f.enums.cells.push({ id: 'unlisted', pool: 'p', attributes: {} })],
  ['a cell id with a slash', /enums.json cells/, (f) => (f.enums.cells[0].id = 'a/b')],
  ['a total beside its parts (E07)', /overlap/, (f) => permit(f, 'hw.temperature').cells.push('blackwell-a')],
  ['a cell with an attribute of another metric', /no attribute sensor/, (f) => permit(f, 'hw.errors').cells.push('blackwell-a-hbm')],
  ['a destination that is not listed', /destination moon/, (f) => permit(f, 'hw.power').destinations.push('moon')],
  ['a destination twice', /a name stands twice/, (f) => f.destinations.destinations.push({ ...f.destinations.destinations[0] })],
  [
    'a family in part (E28)',
    /family load is not whole, hw.energy missing/,
    (f) => (f.policies.permit = f.policies.permit.filter((p: { metric: string }) => p.metric !== 'hw.energy')),
  ],
  ['a family for different pools (E28)', /different pools/, (f) => (permit(f, 'hw.energy').cells = ['blackwell-a'])],
  ['an end before the beginning', /expires is not after/, (f) => (f.manifest.expires = f.manifest.notBefore)],
  ['an object too small to hold its members', /objectBytes/, (f) => (f.caps.objectBytes = 100)],
  ['a scale of floats', /scale/, (f) => (permit(f, 'hw.power').scale = 0.5)],
]
for (const [name, problem, edit] of refused)
  test(`policy: refused, nothing leaves under it: ${name}`, (t) => void t.throws(() => parse(edit), { message: problem, code: 'SLU_EGRESS_POLICY' }))

test('policy: every problem is named at once', (t) => {
  const error = t.throws(() => parse((f) => ((f.policies.minContributors.tenant = 1), (f.caps.bytesPerDay = 0))))
  t.regex(error?.message ?? '', /tenant.*bytesPerDay/s)
})

test('policy: so many problems as a bundle may have are told by their code, never by an overflow of the stack', (t) => {
  const many = Array.from({ length: 200_000 }, () => 'nowhere')
  t.throws(() => parse((f) => (permit(f, 'hw.power').cells = many)), { code: 'SLU_EGRESS_POLICY', message: /cell nowhere/ })
})

test('policy: the starter bundle permits the whole load family or its test would prove nothing', (t) => {
  const permits = parse().permits
  const load = metrics.filter((m) => m.family === 'load' && m.isAggregated)
  t.true(load.length > 5 && load.every((m) => permits.has(m.name)))
})

test('policy: labels are looked up as they are: fullwidth, case, another order of names (E02)', (t) => {
  t.is(cellLookupKey('p', { b: '1', a: '2' }), cellLookupKey('p', { a: '2', b: '1' }))
  const cells = parse().cells
  t.is(cells.get(cellLookupKey('blackwell-a', {})), 'blackwell-a')
  for (const pool of ['Blackwell-a', 'blackwell-ａ', 'blackwell-a ', 'blackwell-a\u200b', '__proto__', 'constructor']) t.is(cells.get(cellLookupKey(pool, {})), undefined, pool)
})

test('policy: a length has one name, in the largest whole unit (E08)', (t) => {
  t.deepEqual([5000, 60_000, 90_000, 3_600_000, 1500, 86_400_000].map(gridName), ['5s', '1m', '90s', '1h', '1500ms', '24h'])
})
