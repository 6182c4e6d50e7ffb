/**
 * One sample line of the Prometheus text format 0.0.4, read strictly.
 *
 * Owns: name, labels (escapes resolved), where the value starts, value and timestamp; a reason where a line is not of the format. Works on text
 * in which one character is one byte (latin1), so that positions are byte positions; label values are turned into UTF-8 text here.
 * Hand-written because scrape-template.ts needs the positions of the parts of a line, which no library gives, and because the maintained parser
 * has 1/20 of the rate needed (bench/telemetry.ts compares both on every run).
 * Invariant N2: a reason never quotes the line.
 */

const LABELS_MAX = 128
const VALUE = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?$/
const SPECIAL = /^[+-]?(?:nan|inf|infinity)$/i
const TIMESTAMP = /^-?\d{1,15}$/
const NON_ASCII = /[\u0080-\u00ff]/

/** int64 blank 2^63−16 (+1..3) as a double is 2^63; nothing a device measures is as large. */
const INT64_BLANK = 2 ** 63
const DOUBLE_BLANK = 140_737_488_355_328

export interface SampleLine {
  readonly name: string
  /** Repeated names are refused, so order does not matter. */
  readonly labels: readonly (readonly [name: string, value: string])[]
  /** Position after `{`, or of the value where there are no labels. */
  readonly labelsAt: number
  /** Position of the value's first character. */
  readonly valueAt: number
  /** Position behind the value. */
  readonly valueTo: number
  readonly value: number
  readonly timestampMs: number | null
}

/** NaN for what is not a value: NaN, ±Inf and DCGM's blank sentinels ("not supported"). */
export function meaningOf(value: number): number {
  if (value !== value || value >= INT64_BLANK || value === -Infinity) return NaN
  return value >= DOUBLE_BLANK && value <= DOUBLE_BLANK + 3 ? NaN : value
}

/** The value of a token; undefined if it is not a number of the format. */
export function parseValue(token: string): number | undefined {
  if (VALUE.test(token)) return meaningOf(Number(token))
  return SPECIAL.test(token) ? NaN : undefined
}

const isNameStart = (c: number): boolean => (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c === 95 || c === 58
const isNamePart = (c: number): boolean => isNameStart(c) || (c >= 48 && c <= 57)
const isBlank = (c: number): boolean => c === 32 || c === 9

function nameEnd(text: string, from: number, end: number): number {
  if (from >= end || !isNameStart(text.charCodeAt(from))) return from
  let at = from + 1
  while (at < end && isNamePart(text.charCodeAt(at))) at++
  return at
}

function skipBlanks(text: string, from: number, end: number): number {
  let at = from
  while (at < end && isBlank(text.charCodeAt(at))) at++
  return at
}

/** `raw` lies between quotes. Returns undefined for an unknown escape or text that is not UTF-8. */
function labelText(raw: string): string | undefined {
  let text = raw
  if (raw.includes('\\')) {
    if (/\\(?![\\n"])/.test(raw.replaceAll('\\\\', ''))) return undefined
    text = raw.replaceAll(/\\([\\n"])/g, (_, c: string) => (c === 'n' ? '\n' : c))
  }
  if (!NON_ASCII.test(text)) return text
  const decoded = Buffer.from(text, 'latin1').toString('utf8')
  return decoded.includes('\ufffd') ? undefined : decoded
}

/** End of a quoted value that starts at `from` (position of the closing quote); -1 if there is none before `end`. */
function quoteEnd(text: string, from: number, end: number): number {
  for (let at = from; at < end; at++) {
    const c = text.charCodeAt(at)
    if (c === 34) return at
    if (c === 92) at++
  }
  return -1
}

/** Reads the labels from behind `{`. Returns the position behind `}`, or the reason. */
function readLabels(text: string, from: number, end: number, labels: [string, string][]): number | string {
  let at = skipBlanks(text, from, end)
  while (at < end && text.charCodeAt(at) !== 125) {
    const nameTo = nameEnd(text, at, end)
    if (nameTo === at) return 'a label name is missing'
    const name = text.slice(at, nameTo)
    at = skipBlanks(text, nameTo, end)
    if (text.charCodeAt(at) !== 61) return 'a label has no ='
    at = skipBlanks(text, at + 1, end)
    if (text.charCodeAt(at) !== 34) return 'a label value is not quoted'
    const valueTo = quoteEnd(text, at + 1, end)
    if (valueTo < 0) return 'a label value does not end'
    const value = labelText(text.slice(at + 1, valueTo))
    if (value === undefined) return 'a label value has an unknown escape or is not UTF-8'
    for (const known of labels) if (known[0] === name) return 'a label is given twice'
    if (labels.length >= LABELS_MAX) return `more than ${LABELS_MAX} labels`
    labels.push([name, value])
    at = skipBlanks(text, valueTo + 1, end)
    if (text.charCodeAt(at) === 44) at = skipBlanks(text, at + 1, end)
    else if (text.charCodeAt(at) !== 125) return 'labels are not separated by a comma'
  }
  return at < end ? at + 1 : 'labels do not end'
}

/** The line between `from` and `end` (without its line end), or the reason why it is none. */
export function parseSampleLine(text: string, from: number, end: number): SampleLine | string {
  const start = skipBlanks(text, from, end)
  const nameTo = nameEnd(text, start, end)
  if (nameTo === start) return 'not a series name'
  let at = skipBlanks(text, nameTo, end)
  let labelsAt = -1
  const labels: [string, string][] = []
  if (text.charCodeAt(at) === 123 && at < end) {
    labelsAt = at + 1
    const labelsTo = readLabels(text, labelsAt, end, labels)
    if (typeof labelsTo === 'string') return labelsTo
    at = labelsTo
  } else if (at === nameTo) return 'no value'
  const valueAt = skipBlanks(text, at, end)
  let valueTo = valueAt
  while (valueTo < end && !isBlank(text.charCodeAt(valueTo))) valueTo++
  if (valueTo === valueAt) return 'no value'
  const value = parseValue(text.slice(valueAt, valueTo))
  if (value === undefined) return 'the value is not a number'
  const restAt = skipBlanks(text, valueTo, end)
  let timestampMs: number | null = null
  if (restAt < end) {
    const rest = text.slice(restAt, end).trimEnd()
    if (!TIMESTAMP.test(rest)) return 'text after the value is not a timestamp'
    timestampMs = Number(rest)
  }
  return { name: text.slice(start, nameTo), labels, labelsAt: labelsAt < 0 ? valueAt : labelsAt, valueAt, valueTo, value, timestampMs }
}
