/**
 * Everything that is wrong with a site file, at once (design.md §4.3).
 *
 * Owns: the words of a problem (which key, what it needs, with type, unit and bounds; the nearest known key), references between keys, and the files
 * that a site names. References and files are read from what was written, not from what passed the schema: a wrong key hides no other problem.
 * A check whose own facts are unreadable says nothing: no problem is made up from another.
 */
import { distance } from 'fastest-levenshtein'
import type { z } from 'zod'
import { siteJsonSchema, siteSchema, type Site } from './site.ts'

type Path = readonly (string | number)[]

export interface SiteProblem {
  /** Keys and indices from the root. */
  readonly path: Path
  readonly message: string
}

/** A file or folder the site names and the start needs. */
export interface NamedFile {
  readonly path: Path
  readonly named: string
  readonly kind: 'file' | 'folder'
  /** The function that reads it, where nobody has written it: a default that only this function needs. */
  readonly neededBy: string | null
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** What stands at a path; undefined where nothing does. */
function valueAt(root: unknown, path: Path): unknown {
  let value = root
  for (const step of path)
    if (Array.isArray(value)) value = value[Number(step)]
    else value = isRecord(value) && Object.hasOwn(value, step) ? value[step] : undefined
  return value
}

interface SchemaNode {
  readonly type?: string
  readonly properties?: Record<string, SchemaNode>
  readonly required?: readonly string[]
  readonly items?: SchemaNode
  readonly anyOf?: readonly SchemaNode[]
  readonly oneOf?: readonly SchemaNode[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly examples?: readonly unknown[]
  readonly unit?: string
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
}

const variantsOf = (node: SchemaNode): SchemaNode[] => [node, ...[...(node.anyOf ?? []), ...(node.oneOf ?? [])].flatMap(variantsOf)]

/** Schemas of what may stand at a path, variants opened. */
function nodesAt(schema: SchemaNode, path: Path): SchemaNode[] {
  let nodes = variantsOf(schema)
  for (const step of path) nodes = nodes.flatMap((node) => (typeof step === 'number' ? node.items : node.properties?.[step]) ?? []).flatMap(variantsOf)
  return nodes
}

function nearest(key: string, known: readonly string[]): string {
  const best = known.map((k) => ({ k, d: distance(key.toLowerCase(), k.toLowerCase()) })).sort((a, b) => a.d - b.d)[0]
  return best !== undefined && best.d <= Math.max(2, key.length / 2) ? `; did you mean ${best.k}?` : `; known here: ${known.join(', ')}`
}

/** What a value must be, in words: "a whole number of ms, 1000 to 86400000". */
function expected(nodes: readonly SchemaNode[]): string {
  const values = [...new Set(nodes.flatMap((node) => node.enum ?? (node.const === undefined ? [] : [node.const])))]
  if (values.length > 0) return values.length === 1 ? String(values[0]) : `one of ${values.join(', ')}`
  const node = nodes.find((n) => n.type !== undefined)
  switch (node?.type) {
    case 'integer':
    case 'number': {
      const { minimum = -Infinity, maximum = Infinity, unit } = node
      const bounds = minimum < -Number.MAX_SAFE_INTEGER + 1 ? '' : maximum > Number.MAX_SAFE_INTEGER - 1 ? `, at least ${minimum}` : `, ${minimum} to ${maximum}`
      return `a ${node.type === 'integer' ? 'whole ' : ''}number${unit === undefined ? '' : ` of ${unit}`}${bounds}`
    }
    case 'boolean':
      return 'true or false'
    case 'array':
      return node.items?.type === 'object' || node.items?.oneOf !== undefined ? 'a list of groups of keys' : `a list, each ${expected(variantsOf(node.items ?? {}))}`
    case 'string':
      return node.format === 'uri' ? 'a URL' : node.examples === undefined ? 'text' : `a size such as ${node.examples.join(' or ')}`
    default: {
      const required = nodes.flatMap((n) => n.required ?? [])
      const known = required.length > 0 ? required : nodes.flatMap((n) => Object.keys(n.properties ?? {}))
      return `a group of keys${known.length === 0 ? '' : `: ${[...new Set(known)].join(', ')}`}`
    }
  }
}

/** What stands there instead. */
function found(value: unknown): string {
  if (typeof value === 'string') return `text`
  if (Array.isArray(value)) return 'a list'
  return isRecord(value) ? 'a group of keys' : String(value)
}

/** Whether the words are the schema's own (they hold a reason), not the validator's. */
const isOurs = (message: string): boolean => !/^(?:Invalid|Too (?:small|big))/.test(message)

function describe(issue: z.core.$ZodIssue, value: unknown, nodes: readonly SchemaNode[]): string {
  if (value === undefined) return `is missing: needs ${expected(nodes)}`
  if (value === null) return `has no value: needs ${expected(nodes)}`
  if (isOurs(issue.message)) return issue.message
  if (issue.code === 'too_small') {
    if (issue.origin === 'number' || issue.origin === 'int') return `must be at least ${issue.minimum}`
    return issue.origin === 'array' ? `needs at least ${issue.minimum}` : 'must not be empty'
  }
  if (issue.code === 'too_big') return `must be at most ${issue.maximum}${issue.origin === 'string' ? ' characters' : ''}`
  return `must be ${expected(nodes)}, not ${typeof value === 'string' && nodes.some((n) => n.enum ?? n.const) ? value : found(value)}`
}

/** One problem a value, one for each unknown key. */
function schemaProblems(issues: readonly z.core.$ZodIssue[], root: unknown): SiteProblem[] {
  const schema = siteJsonSchema() as SchemaNode
  const seen = new Set<string>()
  return issues.flatMap((issue): SiteProblem[] => {
    const path = issue.path.map((p) => (typeof p === 'symbol' ? String(p) : p))
    if (issue.code === 'unrecognized_keys') {
      const known = nodesAt(schema, path).flatMap((node) => Object.keys(node.properties ?? {}))
      return issue.keys.map((key) => ({ path: [...path, key], message: `unknown key ${key}${nearest(key, known)}` }))
    }
    const key = JSON.stringify(path)
    if (seen.has(key)) return []
    seen.add(key)
    return [{ path, message: describe(issue, valueAt(root, path), nodesAt(schema, path)) }]
  })
}

/** Names that stand in the contract of site.yaml and have no code behind them in this release. */
const LATER_FORMATS: readonly string[] = ['redfish', 'dsx-bms', 'otlp', 'prometheus-kafka-adapter', 'health-events']
const LATER_APIS: readonly string[] = ['sagemaker', 'bedrock']

/** Key, headers and framing of a result record, beside its value. */
const RESULT_ENVELOPE_BYTES = 64 * 1024

const functionsShape = siteSchema.shape.functions.unwrap().shape
const routingShape = functionsShape['route-inference'].unwrap().shape
const topicsShape = siteSchema.shape.log.unwrap().shape.topics.unwrap().shape

/** What was written, read leniently. */
class Written {
  readonly #root: unknown

  constructor(root: unknown) {
    this.#root = root
  }

  at(...path: Path): unknown {
    return valueAt(this.#root, path)
  }

  textAt(...path: Path): string | null {
    const value = this.at(...path)
    return typeof value === 'string' ? value : null
  }

  /** Paths of the elements of a list; none where there is no list. */
  each(...path: Path): Path[] {
    const value = this.at(...path)
    return Array.isArray(value) ? value.map((_, i) => [...path, i]) : []
  }

  /** Whether a list can be read as a whole: it is not there, or it is one. */
  isList(...path: Path): boolean {
    const value = this.at(...path)
    return value === undefined || Array.isArray(value)
  }

  /** A setting with its default; null where what was written is not one. */
  setting<T>(schema: z.ZodType<T>, ...path: Path): T | null {
    const parsed = schema.safeParse(this.at(...path))
    return parsed.success ? parsed.data : null
  }
}

/** Cross-references that one field alone cannot show. */
function references(w: Written): SiteProblem[] {
  const problems: SiteProblem[] = []
  const say = (path: Path, message: string): void => void problems.push({ path, message })
  const seen = new Set<string>()
  const unique = (kind: string, path: Path): void => {
    const name = w.textAt(...path)
    if (name === null) return
    if (seen.has(`${kind}\0${name}`)) say(path, `${kind} ${name} is declared twice`)
    seen.add(`${kind}\0${name}`)
  }
  const later = (path: Path, names: readonly string[], message: string): void => {
    const name = w.textAt(...path)
    if (name !== null && names.includes(name)) say(path, `${name} is not ${message}`)
  }

  if (w.at('log', 'driver') === 'kafka' && w.at('log', 'kafka') === undefined) say(['log'], 'driver kafka needs log.kafka.brokers')

  const pseudonyms = w.at('pseudonyms')
  if (isRecord(pseudonyms) && (pseudonyms['keyEnv'] === undefined) === (pseudonyms['keyFile'] === undefined)) say(['pseudonyms'], 'needs exactly one of keyEnv and keyFile')

  const models = new Set<unknown>()
  let isEveryModelKnown = w.isList('pools')
  for (const pool of w.each('pools')) {
    unique('pool', [...pool, 'name'])
    isEveryModelKnown &&= isRecord(w.at(...pool)) && w.isList(...pool, 'endpoints')
    for (const endpoint of w.each(...pool, 'endpoints')) {
      unique('endpoint', [...endpoint, 'id'])
      later([...endpoint, 'api'], LATER_APIS, 'spoken by this release; have openai, oip')
      const served = w.each(...endpoint, 'models').map((model) => w.textAt(...model))
      isEveryModelKnown &&= served.length > 0 && !served.includes(null)
      for (const model of served) models.add(model)
    }
  }
  for (const source of w.each('sources')) {
    unique('source topic', [...source, 'topic'])
    later([...source, 'format'], LATER_FORMATS, 'read by this release; have dcgm-exporter, neuron-monitor')
  }
  for (const contract of w.each('contracts')) {
    unique('contract', [...contract, 'name'])
    for (const substitute of w.each(...contract, 'substitutes')) {
      const model = w.textAt(...substitute)
      if (isEveryModelKnown && model !== null && !models.has(model)) say(substitute, `no endpoint serves ${model}`)
    }
  }

  const [tenant, all] = (['perTenantMax', 'maxInFlight'] as const).map((key) => w.setting(routingShape[key], 'functions', 'route-inference', key))
  if (typeof tenant === 'number' && typeof all === 'number' && tenant > all)
    say(['functions', 'route-inference', 'perTenantMax'], `perTenantMax ${tenant} is more than maxInFlight ${all}: one tenant could fill it all`)
  const result = w.setting(routingShape.resultBytesMax, 'functions', 'route-inference', 'resultBytesMax')
  const message = w.setting(topicsShape.maxMessageBytes, 'log', 'topics', 'maxMessageBytes')
  if (result !== null && message !== null && result > message - RESULT_ENVELOPE_BYTES)
    say(
      ['functions', 'route-inference', 'resultBytesMax'],
      `must leave room below log.topics.maxMessageBytes: at most ${message - RESULT_ENVELOPE_BYTES} bytes, or an answer could never be written`,
    )

  for (const destination of w.each('egress', 'destinations')) unique('destination', [...destination, 'name'])
  const hosts = w.each('simulation', 'hosts').map((host) => w.textAt(...host, 'host'))
  const isEveryHostKnown = w.isList('simulation', 'hosts') && !hosts.includes(null)
  for (const fault of w.each('simulation', 'faults')) {
    const host = w.textAt(...fault, 'host')
    if (isEveryHostKnown && host !== null && !hosts.includes(host)) say([...fault, 'host'], `${host} is not among simulation.hosts`)
  }
  return problems
}

function namedFiles(w: Written): NamedFile[] {
  const files: NamedFile[] = []
  const name = (kind: NamedFile['kind'], path: Path, named: unknown, neededBy: string | null = null): void => {
    if (typeof named === 'string' && named !== '') files.push({ path, named, kind, neededBy: w.at(...(path as string[])) === undefined ? neededBy : null })
  }
  const rules = ['functions', 'assess-health', 'rules']
  if (w.at('functions', 'assess-health', 'enabled') !== false) name('file', rules, w.setting(functionsShape['assess-health'].unwrap().shape.rules, ...rules), 'assess-health')
  const policy = ['egress', 'policy']
  if (w.at('functions', 'forward-summaries', 'enabled') !== false) name('folder', policy, w.setting(siteSchema.shape.egress.unwrap().shape.policy, ...policy), 'forward-summaries')
  for (const key of ['caFile', 'certFile', 'keyFile']) name('file', ['log', 'kafka', 'tls', key], w.at('log', 'kafka', 'tls', key))
  if (w.at('pseudonyms', 'create') !== true) name('file', ['pseudonyms', 'keyFile'], w.at('pseudonyms', 'keyFile'))
  return files
}

export interface SiteCheck {
  /** The resolved site; null if there is a problem. */
  readonly site: Site | null
  readonly problems: readonly SiteProblem[]
  /** To be looked for by whoever has a disk. */
  readonly files: readonly NamedFile[]
}

/** Every problem at once; none = the resolved site. */
export function validateSite(parsed: unknown): SiteCheck {
  const root = parsed ?? {}
  const result = siteSchema.safeParse(root)
  const written = new Written(root)
  const problems = [...(result.success ? [] : schemaProblems(result.error.issues, root)), ...references(written)]
  return { site: result.success && problems.length === 0 ? result.data : null, problems, files: isRecord(root) ? namedFiles(written) : [] }
}
