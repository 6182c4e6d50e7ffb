/**
 * The fast path of a scrape: consecutive scrapes of one node repeat everything but their numbers, byte for byte (telemetry.md §2).
 *
 * Owns: the template of a node's last clean scrape (the text before each value, as two parts: what all nodes share, and the labels of one
 * series, each kept once), the scan that compares text and reads only numbers, and the bounded cache of templates.
 * A template is a pure cache: any difference, or a number in a rare spelling that does not parse, means null, and the caller takes the correct
 * path (dcgm-scrape.ts). Same output with or without it. Scrapes with problems or line timestamps make no template.
 * Text is latin1: one character is one byte, so equal text is equal bytes.
 */
import { applyPlan, type Scrape, type ScrapePlan } from './dcgm-scrape.ts'
import { parseValue } from './prometheus-line.ts'

export interface ScrapeTemplate {
  readonly plan: ScrapePlan
  /** From behind the value before to the labels of this line: HELP and TYPE lines, series name, `{`. */
  readonly heads: readonly string[]
  /** Labels, `}` and blanks up to the value. */
  readonly labels: readonly string[]
  /** Behind the last value. */
  readonly tail: string
  /** An estimate of what the template keeps alive. */
  readonly bytes: number
}

/** A copy that does not keep the whole scrape alive, as a slice would. */
const detached = (text: string): string => Buffer.from(text, 'latin1').toString('latin1')

const HEADS_MAX = 65_536
const BYTES_PER_LINE = 48

/** `heads` = texts shared by the templates of many nodes. null if this scrape cannot be a template. */
export function makeTemplate(text: string, scrape: Scrape, heads: Map<string, string>): ScrapeTemplate | null {
  if (scrape.problems.noted.length > 0 || scrape.timesMs !== null) return null
  const own = new Map<string, string>()
  let bytes = scrape.plan.shape.layout.length + scrape.places.length * BYTES_PER_LINE
  const keep = (map: Map<string, string>, part: string): string => {
    const known = map.get(part)
    if (known !== undefined) return known
    const copy = detached(part)
    map.set(copy, copy)
    bytes += copy.length
    return copy
  }
  let behind = 0
  const headList: string[] = []
  const labelList: string[] = []
  for (const { labelsAt, valueAt, valueTo } of scrape.places) {
    if (heads.size >= HEADS_MAX) heads.clear()
    headList.push(keep(heads, text.slice(behind, labelsAt)))
    labelList.push(keep(own, text.slice(labelsAt, valueAt)))
    behind = valueTo
  }
  return { plan: scrape.plan, heads: headList, labels: labelList, tail: detached(text.slice(behind)), bytes }
}

const POWERS = Float64Array.from({ length: 16 }, (_, i) => 10 ** i)
/** This many digits are an exact double, and so is their quotient with a power of ten below 10^22, correctly rounded. */
const DIGITS_EXACT = 15

/** Row values of `text` if it repeats the template but for its numbers; else null. */
export function scanTemplate(template: ScrapeTemplate, text: string): Float64Array | null {
  const { heads, labels } = template
  const raw = new Float64Array(heads.length)
  let at = 0
  for (let i = 0; i < heads.length; i++) {
    const head = heads[i] as string
    if (text.slice(at, at + head.length) !== head) return null
    at += head.length
    const label = labels[i] as string
    if (text.slice(at, at + label.length) !== label) return null
    at += label.length

    const start = at
    const isNegative = text.charCodeAt(at) === 45
    if (isNegative) at++
    let mantissa = 0
    let digits = 0
    let point = -1
    let c = text.charCodeAt(at)
    for (; ; c = text.charCodeAt(++at)) {
      if (c >= 48 && c <= 57) {
        mantissa = mantissa * 10 + (c - 48)
        digits++
      } else if (c === 46 && point < 0) point = digits
      else break
    }
    const isEnd = c === 10 || c === 13 || c === 32 || c === 9 || at >= text.length
    if (isEnd && digits > 0 && digits <= DIGITS_EXACT && mantissa < 1e14) {
      const value = point < 0 ? mantissa : mantissa / (POWERS[digits - point] as number)
      raw[i] = isNegative ? -value : value
      continue
    }
    while (at < text.length && !isTokenEnd(text.charCodeAt(at))) at++
    const value = parseValue(text.slice(start, at))
    if (value === undefined) return null
    raw[i] = value
  }
  return text.slice(at) === template.tail ? applyPlan(template.plan, raw) : null
}

const isTokenEnd = (c: number): boolean => c === 10 || c === 13 || c === 32 || c === 9

export interface TemplateCache {
  get(key: string): ScrapeTemplate | undefined
  /** Least recently used templates beyond `bytesMax` are dropped. */
  put(key: string, template: ScrapeTemplate): void
  drop(key: string): void
  readonly heads: Map<string, string>
  readonly bytes: number
}

export function createTemplateCache(bytesMax: number): TemplateCache {
  const templates = new Map<string, ScrapeTemplate>()
  let bytes = 0
  const drop = (key: string): void => {
    bytes -= templates.get(key)?.bytes ?? 0
    templates.delete(key)
  }
  return {
    heads: new Map(),
    get bytes() {
      return bytes
    },
    get: (key) => {
      const found = templates.get(key)
      if (found === undefined) return undefined
      templates.delete(key)
      templates.set(key, found)
      return found
    },
    put: (key, template) => {
      drop(key)
      templates.set(key, template)
      bytes += template.bytes
      for (const oldest of templates.keys()) {
        if (bytes <= bytesMax) break
        drop(oldest)
      }
    },
    drop,
  }
}
