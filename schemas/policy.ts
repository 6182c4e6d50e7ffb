/**
 * The policy bundle (egress.md §5): its files as schemas, and the rules a bundle must keep before anything may leave under it.
 *
 * Owns: the layout of `policy/` (F): `manifest.json` with the hashes of every other file, `policies.json`, `enums.json`,
 * `destinations.json`, `caps.json`; the field classes (`x-class`, …) of the exportable Avro schema. Signatures come later: until then a
 * bundle is `unsigned` wherever it is named. Rules checked here, each with the attack it stops: no class = never (E01), names by look-up
 * (E02, E03), at least 10 contributors of a tenant metric (E06), disjoint cells and one grid per metric (E07, E08), families whole (E28).
 */
import { z } from 'zod'
import { SluiceError } from './errors.ts'
import { UNLISTED_CELL } from './ledger.ts'
import { metricByName, metrics } from './metrics.ts'

const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex')
const cellId = z.string().regex(/^[a-z0-9-]{1,32}$/, 'must match [a-z0-9-]{1,32}')
const name = z.string().regex(/^[a-z0-9-]{1,64}$/, 'must match [a-z0-9-]{1,64}')
const fileName = z.string().regex(/^[a-z0-9-]+\.(?:json|avsc)$/)
const epochMs = z.int().min(0)
const positive = z.int().min(1)

/** (F) Times are epoch ms; hashes by file name; `previousHash` = the manifest's of the version before, 64 zeros for the first. */
export const manifestSchema = z.strictObject({
  v: z.literal(1),
  bundleId: name,
  version: positive,
  previousHash: sha256Hex,
  /** Start of the first window the bundle applies to. */
  firstWindow: epochMs,
  notBefore: epochMs,
  expires: epochMs,
  roles: z.strictObject({ author: z.string().min(1).max(128), approver: z.string().min(1).max(128) }),
  schemas: z.record(fileName, sha256Hex),
  policies: z.record(fileName, sha256Hex),
  enums: z.record(fileName, sha256Hex),
  destinations: z.record(fileName, sha256Hex),
  caps: z.record(fileName, sha256Hex),
})

const permitSchema = z.strictObject({
  metric: z.string(),
  grid: z.string(),
  statistic: z.enum(['sum', 'mean']),
  /** Decimal places of the fixed-point value. */
  scale: z.int().min(0).max(9),
  /** In units of the scale: values are rounded to its multiples. */
  step: positive,
  cells: z.array(cellId).min(1),
  destinations: z.array(name).min(1),
})

export const policiesSchema = z.strictObject({
  v: z.literal(1),
  /** Contributors with a value other than zero that a cell needs. A bundle raises the numbers; it cannot lower tenant below 10. */
  minContributors: z.strictObject({ tenant: z.int().min(10), device: positive, facility: positive }),
  permit: z.array(permitSchema),
  /** Wins over permit; says why, for people. */
  deny: z.array(z.strictObject({ metric: z.string(), why: z.string().max(200) })),
})

export const enumsSchema = z.strictObject({
  v: z.literal(1),
  site: cellId,
  /** Name of a grid → length of its windows in ms. */
  grids: z.record(z.string().regex(/^[1-9][0-9]{0,5}(?:ms|s|m|h)$/), positive),
  cells: z.array(z.strictObject({ id: cellId, pool: z.string().min(1), attributes: z.record(z.string(), z.string()) })),
})

export const destinationsSchema = z.strictObject({
  v: z.literal(1),
  destinations: z.array(
    z.discriminatedUnion('kind', [
      z.strictObject({ name, kind: z.literal('carry') }),
      z.strictObject({ name, kind: z.literal('s3'), bucket: z.string(), region: z.string(), endpoint: z.string(), expectedOwner: z.string().regex(/^\d{12}$/) }),
    ]),
  ),
})

export const capsSchema = z.strictObject({
  v: z.literal(1),
  /** Every object is padded to exactly this size (E05, E33). */
  objectBytes: z.int().min(384).max(65_536),
  /** Per UTC day and UTC hour. */
  bytesPerDay: positive,
  objectsPerHour: positive,
})

/** Sections of the manifest, and the file each must name. */
export const BUNDLE_FILES = {
  schemas: 'window-summary.avsc',
  policies: 'policies.json',
  enums: 'enums.json',
  destinations: 'destinations.json',
  caps: 'caps.json',
} as const
export type BundleSection = keyof typeof BUNDLE_FILES

export type FieldClassName = 'public-summary' | 'internal' | 'restricted' | 'never'

export interface FieldClass {
  readonly class: FieldClassName
  readonly unit: string
  readonly domain: string
  readonly scale: string
}

export type PolicyManifest = z.output<typeof manifestSchema>
export type Permit = z.output<typeof permitSchema>
export type BundleDestination = z.output<typeof destinationsSchema>['destinations'][number]

/** A bundle as verified once and frozen. */
export interface PolicyBundle {
  readonly manifest: PolicyManifest
  /** SHA-256 of the manifest's bytes, hex: names the whole bundle. */
  readonly hash: string
  /** Shown wherever the bundle is named. */
  readonly signature: 'unsigned'
  readonly site: string
  /** By field name of WindowSummary. */
  readonly classes: ReadonlyMap<string, FieldClass>
  readonly permits: ReadonlyMap<string, Permit>
  readonly denials: ReadonlyMap<string, string>
  /** Cell id by pool and attributes (`cellLookupKey`). */
  readonly cells: ReadonlyMap<string, string>
  readonly grids: ReadonlyMap<string, number>
  readonly destinations: ReadonlyMap<string, BundleDestination>
  readonly minContributors: { readonly tenant: number; readonly device: number; readonly facility: number }
  readonly caps: { readonly objectBytes: number; readonly bytesPerDay: number; readonly objectsPerHour: number }
}

/** Pool and attributes as one look-up key; compared as they are, never normalised (E02). */
export function cellLookupKey(pool: string, attributes: Readonly<Record<string, string>>): string {
  return JSON.stringify([
    pool,
    Object.keys(attributes)
      .sort()
      .map((k) => [k, attributes[k]]),
  ])
}

const CLASSES: readonly string[] = ['public-summary', 'internal', 'restricted', 'never'] satisfies FieldClassName[]

/** The classes of an Avro record schema; a field without a class is `never`. Throws SLU_EGRESS_POLICY. */
export function fieldClasses(schema: unknown): Map<string, FieldClass> {
  const fields = (schema as { fields?: unknown } | null)?.fields
  if (!Array.isArray(fields)) throw new SluiceError('SLU_EGRESS_POLICY', 'the schema has no fields')
  const text = (value: unknown): string => (typeof value === 'string' ? value : '')
  return new Map(
    (fields as Record<string, unknown>[]).map((f) => {
      const given = text(f['x-class'])
      if (given !== '' && !CLASSES.includes(given)) throw new SluiceError('SLU_EGRESS_POLICY', `field ${text(f['name'])}: no class ${given}`)
      const own = given === '' ? 'never' : (given as FieldClassName)
      return [text(f['name']), { class: own, unit: text(f['x-unit']), domain: text(f['x-domain']), scale: text(f['x-scale']) }]
    }),
  )
}

interface BundleParts {
  readonly manifest: unknown
  readonly schemas: unknown
  readonly policies: unknown
  readonly enums: unknown
  readonly destinations: unknown
  readonly caps: unknown
}

/** Checks the parsed files of a bundle and puts them together. `hash` = SHA-256 of the manifest's bytes. Throws SLU_EGRESS_POLICY with every problem. */
export function parsePolicyBundle(parts: BundleParts, hash: string): PolicyBundle {
  let problems: string[] = []
  const read = <T>(file: string, schema: z.ZodType<T>, value: unknown): T => {
    const result = schema.safeParse(value)
    if (result.success) return result.data
    problems.push(...result.error.issues.map((i) => `${file} ${i.path.join('.')}: ${i.message}`))
    return undefined as T
  }
  const manifest = read('manifest.json', manifestSchema, parts.manifest)
  const policies = read('policies.json', policiesSchema, parts.policies)
  const enums = read('enums.json', enumsSchema, parts.enums)
  const { destinations } = read('destinations.json', destinationsSchema, parts.destinations) ?? { destinations: [] }
  const caps = read('caps.json', capsSchema, parts.caps)
  if (problems.length === 0) {
    if (manifest.expires <= manifest.notBefore) problems.push('manifest.json: expires is not after notBefore')
    problems = [...problems, ...enumProblems(enums), ...policyProblems(policies, enums, new Set(destinations.map((d) => d.name)))]
    if (new Set(destinations.map((d) => d.name)).size < destinations.length) problems.push('destinations.json: a name stands twice')
  }
  if (problems.length > 0) throw new SluiceError('SLU_EGRESS_POLICY', problems.join('; '))
  return Object.freeze({
    manifest,
    hash,
    signature: 'unsigned' as const,
    site: enums.site,
    classes: fieldClasses(parts.schemas),
    permits: new Map(policies.permit.map((p) => [p.metric, p])),
    denials: new Map(policies.deny.map((d) => [d.metric, d.why])),
    cells: new Map(enums.cells.map((c) => [cellLookupKey(c.pool, c.attributes), c.id])),
    grids: new Map(Object.entries(enums.grids)),
    destinations: new Map(destinations.map((d) => [d.name, d])),
    minContributors: policies.minContributors,
    caps,
  })
}

type Policies = z.output<typeof policiesSchema>
type Enums = z.output<typeof enumsSchema>

function enumProblems(enums: Enums): string[] {
  const problems: string[] = []
  if (new Set(enums.cells.map((c) => c.id)).size < enums.cells.length) problems.push('enums.json: a cell id stands twice')
  if (new Set(enums.cells.map((c) => cellLookupKey(c.pool, c.attributes))).size < enums.cells.length) problems.push('enums.json: two cells have the same pool and attributes')
  if (enums.cells.some((c) => c.id === UNLISTED_CELL)) problems.push(`enums.json: ${UNLISTED_CELL} is reserved`)
  for (const [grid, ms] of Object.entries(enums.grids)) if (gridName(ms) !== grid) problems.push(`enums.json: ${ms} ms is called ${gridName(ms)}, not ${grid}`)
  return problems
}

/** One name per length, in the largest whole unit, so that a window has one identity (E08). */
export function gridName(windowMs: number): string {
  for (const [unit, ms] of [
    ['h', 3_600_000],
    ['m', 60_000],
    ['s', 1000],
  ] as const)
    if (windowMs % ms === 0) return `${windowMs / ms}${unit}`
  return `${windowMs}ms`
}

function policyProblems(policies: Policies, enums: Enums, destinations: ReadonlySet<string>): string[] {
  const problems: string[] = []
  const say = (metric: string, what: string): void => void problems.push(`policies.json ${metric}: ${what}`)
  const cells = new Map(enums.cells.map((c) => [c.id, c]))
  const permitted = new Map<string, Permit>()
  const denied = new Set(policies.deny.map((d) => d.metric))
  for (const metric of denied) if (!metricByName.has(metric)) say(metric, 'no such metric')
  for (const p of policies.permit) {
    const row = metricByName.get(p.metric)
    if (row === undefined) {
      say(p.metric, 'no such metric')
      continue
    }
    if (permitted.has(p.metric)) say(p.metric, 'is permitted twice: one grid per metric (E08)')
    if (denied.has(p.metric)) say(p.metric, 'is permitted and denied')
    permitted.set(p.metric, p)
    if (!Object.hasOwn(enums.grids, p.grid)) say(p.metric, `grid ${p.grid} is not in enums.json`)
    for (const d of p.destinations) if (!destinations.has(d)) say(p.metric, `destination ${d} is not in destinations.json`)
    const own = p.cells.flatMap((id) => cells.get(id) ?? (say(p.metric, `cell ${id} is not in enums.json`), []))
    for (const c of own) for (const k of Object.keys(c.attributes)) if (!row.keptAttributes.includes(k)) say(p.metric, `cell ${c.id}: the metric has no attribute ${k}`)
    own.forEach((a, i) => own.slice(i + 1).forEach((b) => overlaps(a, b) && say(p.metric, `cells ${a.id} and ${b.id} overlap (E07)`)))
  }
  return [...problems, ...familyProblems(permitted, cells)]
}

type CellEnum = Enums['cells'][number]

/** One holds the other: the larger minus its parts would give what is withheld. */
function overlaps(a: CellEnum, b: CellEnum): boolean {
  if (a.pool !== b.pool) return false
  const shared = Object.keys(a.attributes).filter((k) => Object.hasOwn(b.attributes, k))
  return shared.every((k) => a.attributes[k] === b.attributes[k])
}

/** Metrics derived from one load are permitted together, for the same pools, or none of them is (E28). */
function familyProblems(permitted: ReadonlyMap<string, Permit>, cells: ReadonlyMap<string, CellEnum>): string[] {
  const problems: string[] = []
  const poolsOf = (p: Permit): string => [...new Set(p.cells.map((id) => cells.get(id)?.pool ?? ''))].sort().join(', ')
  const families = new Set([...permitted.keys()].flatMap((m) => metricByName.get(m)?.family ?? []))
  for (const family of families) {
    const members = metrics.filter((m) => m.family === family && m.isAggregated)
    const missing = members.filter((m) => !permitted.has(m.name)).map((m) => m.name)
    if (missing.length > 0) problems.push(`policies.json: family ${family} is not whole, ${missing.join(', ')} missing (E28)`)
    const pools = new Set(members.flatMap((m) => (permitted.has(m.name) ? [poolsOf(permitted.get(m.name) as Permit)] : [])))
    if (pools.size > 1) problems.push(`policies.json: family ${family} is permitted for different pools: ${[...pools].join(' | ')} (E28)`)
  }
  return problems
}
