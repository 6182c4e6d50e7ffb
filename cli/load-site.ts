/**
 * Reads a site file: YAML → validated `Site`, every problem with its line.
 *
 * Owns: file reading, YAML problems, the line of each problem, looking for the files a site names, where each value came from.
 * Throws SLU_CONFIG_MISSING or SLU_CONFIG_INVALID; a `SiteProblemsError` lists all problems, nothing is started.
 */
import { readFileSync, statSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path'
import { isMap, isSeq, LineCounter, parseDocument, type Document, type Node } from 'yaml'
import { SluiceError } from '../schemas/errors.ts'
import type { Site } from '../schemas/site.ts'
import { validateSite } from '../schemas/validate-site.ts'

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
  /** Files taken by default that are not there, and whom that keeps from running. */
  readonly absent: readonly string[]
  /** The functions among them. */
  readonly cannotRun: readonly string[]
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

/** What stands at a path; null where nothing does, or nothing we may see. */
function kindAt(path: string): 'file' | 'folder' | null {
  try {
    return statSync(path).isDirectory() ? 'folder' : 'file'
  } catch {
    return null
  }
}

/** Reads, validates and checks `file`. Of files that nobody has written but a function takes by default, only those are missed whose function `isRun` here. */
export function loadSite(file: string, isRun: (functionName: string) => boolean = () => false): LoadedSite {
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
  const broken = document.errors.map((e) => ({ line: lines.linePos(e.pos[0]).line, key: '', message: e.message }))
  // A key that stands twice still leaves a document to check; what cannot be parsed does not.
  if (document.errors.some((e) => e.code !== 'DUPLICATE_KEY')) throw new SiteProblemsError(file, broken)
  let parsed: unknown
  try {
    parsed = document.toJS({ maxAliasCount: 100 })
  } catch (cause) {
    throw new SluiceError('SLU_CONFIG_INVALID', `${file}: aliases expand too far`, cause)
  }
  const { site, problems, files } = validateSite(parsed)
  const folder = dirname(full)
  const pathOf = (named: string): string => resolve(folder, named)
  const absent = files.filter(({ named, kind }) => kindAt(pathOf(named)) !== kind).map((one) => ({ ...one, message: `${one.named}: no such ${one.kind}` }))
  const missing = absent.filter(({ neededBy }) => neededBy === null || isRun(neededBy))
  const all = [...broken, ...[...problems, ...missing].map(({ path, message }) => ({ line: lineOf(document, lines, path).line, key: keyText(path), message }))]
  if (site === null || all.length > 0)
    throw new SiteProblemsError(
      file,
      all.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)),
    )
  return {
    site,
    absent: absent.map(({ path, message, neededBy }) => `${keyText(path)}: ${message}; ${neededBy} cannot run (enabled: false, if it is not to)`),
    cannotRun: absent.flatMap(({ neededBy }) => neededBy ?? []),
    file: full,
    folder,
    pathOf,
    originOf: (path) => {
      const { line, exact } = lineOf(document, lines, path)
      return exact && line !== null ? `${relative(process.cwd(), full) || file}:${line}` : 'default'
    },
  }
}
