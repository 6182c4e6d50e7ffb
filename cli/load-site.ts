/**
 * Reads a site file: YAML → validated `Site`, every problem with its line.
 *
 * Owns: file reading, YAML problems, the line of each problem, the files a site names, where each value came from.
 * Throws SLU_CONFIG_MISSING or SLU_CONFIG_INVALID; a `SiteProblemsError` lists all problems, nothing is started.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { isMap, isSeq, LineCounter, parseDocument, type Document, type Node } from 'yaml'
import { SluiceError } from '../schemas/errors.ts'
import { validateSite, type Site } from '../schemas/site.ts'

export interface LocatedProblem {
  readonly line: number | null
  readonly key: string
  readonly message: string
}

/** SLU_CONFIG_INVALID with every problem of the file. */
export class SiteProblemsError extends SluiceError {
  readonly problems: readonly LocatedProblem[]
  readonly file: string

  constructor(file: string, problems: readonly LocatedProblem[]) {
    super('SLU_CONFIG_INVALID', `${file}: ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`)
    this.file = file
    this.problems = problems
  }
}

export interface LoadedSite {
  readonly site: Site
  readonly file: string
  /** Folder of the file: relative paths in it start here. */
  readonly folder: string
  /** `file:line` of a key as written, or `default`. */
  originOf(path: readonly (string | number)[]): string
  pathOf(named: string): string
}

const SITE_BYTES_MAX = 4 << 20

/** Line (1-based) of the deepest node on `path` that the file holds. */
function lineOf(document: Document, lines: LineCounter, path: readonly (string | number)[]): { line: number | null; exact: boolean } {
  let node: unknown = document.contents
  let line: number | null = node === null ? null : 1
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => String((item.key as { value?: unknown } | null)?.value) === String(step))
      if (pair === undefined) return { line, exact: false }
      const range = (pair.key as Node).range
      if (range) line = lines.linePos(range[0]).line
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(step)]
      if (node === undefined) return { line, exact: false }
      const range = (node as Node).range
      if (range) line = lines.linePos(range[0]).line
    } else return { line, exact: false }
  }
  return { line, exact: true }
}

const keyText = (path: readonly (string | number)[]): string =>
  path.reduce<string>((text, step) => (typeof step === 'number' ? `${text}[${step}]` : text === '' ? step : `${text}.${step}`), '')

/** Files and folders the site names and the start needs. */
function namedFiles(site: Site): { readonly path: readonly (string | number)[]; readonly named: string; readonly kind: 'file' | 'folder' }[] {
  const tls = site.log.kafka?.tls
  const named: { path: readonly (string | number)[]; named: string; kind: 'file' | 'folder' }[] = []
  if (site.functions['assess-health'].enabled) named.push({ path: ['functions', 'assess-health', 'rules'], named: site.functions['assess-health'].rules, kind: 'file' })
  if (site.functions['forward-summaries'].enabled) named.push({ path: ['egress', 'policy'], named: site.egress.policy, kind: 'folder' })
  for (const key of ['caFile', 'certFile', 'keyFile'] as const) if (tls?.[key] !== undefined) named.push({ path: ['log', 'kafka', 'tls', key], named: tls[key], kind: 'file' })
  if (site.pseudonyms.keyFile !== undefined && !site.pseudonyms.create) named.push({ path: ['pseudonyms', 'keyFile'], named: site.pseudonyms.keyFile, kind: 'file' })
  return named
}

/** Reads, validates and checks `file`. */
export function loadSite(file: string): LoadedSite {
  const full = resolve(file)
  let text: string
  try {
    if (statSync(full).size > SITE_BYTES_MAX) throw new SluiceError('SLU_CONFIG_MISSING', `${file}: larger than 4 MiB`)
    text = readFileSync(full, 'utf8')
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause
    throw new SluiceError('SLU_CONFIG_MISSING', file, cause)
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false })
  if (document.errors.length > 0)
    throw new SiteProblemsError(
      file,
      document.errors.map((e) => ({ line: lines.linePos(e.pos[0]).line, key: '', message: e.message })),
    )
  let parsed: unknown
  try {
    parsed = document.toJS({ maxAliasCount: 100 })
  } catch (cause) {
    throw new SluiceError('SLU_CONFIG_INVALID', `${file}: aliases expand too far`, cause)
  }
  const result = validateSite(parsed)
  if (result.site === null)
    throw new SiteProblemsError(
      file,
      result.problems.map((p) => ({ line: lineOf(document, lines, p.path).line, key: keyText(p.path), message: p.message })),
    )

  const folder = dirname(full)
  const pathOf = (named: string): string => resolve(folder, named)
  const missing = namedFiles(result.site).filter(({ named, kind }) => !existsSync(pathOf(named)) || (kind === 'folder') !== statSync(pathOf(named)).isDirectory())
  if (missing.length > 0)
    throw new SiteProblemsError(
      file,
      missing.map((m) => ({ line: lineOf(document, lines, m.path).line, key: keyText(m.path), message: `${m.named}: no such ${m.kind}` })),
    )
  return {
    site: result.site,
    file: full,
    folder,
    pathOf,
    originOf: (path) => {
      const { line, exact } = lineOf(document, lines, path)
      return exact && line !== null ? `${relative(process.cwd(), full) || file}:${line}` : 'default'
    },
  }
}
