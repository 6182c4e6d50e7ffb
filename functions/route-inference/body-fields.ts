/**
 * Finds top-level values of a JSON body without parsing it.
 *
 * Owns: the byte range of named top-level values. Bodies are never parsed and written again (routing.md §1: INT64 would be corrupted);
 * a contract replaces exactly the bytes of `model` (R2). A name that occurs twice is reported: readers disagree which one counts.
 */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

export type TopLevel =
  | { readonly kind: 'object'; readonly ranges: ReadonlyMap<string, ByteRange> }
  | { readonly kind: 'repeated'; readonly name: string }
  | { readonly kind: 'not-object' }

const [QUOTE, BACKSLASH, COLON, COMMA] = [0x22, 0x5c, 0x3a, 0x2c]
const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST] = [0x7b, 0x7d, 0x5b, 0x5d]
const isSpace = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09

/** Index after the string that begins at `at`; -1 if it does not end. */
function endOfString(body: Buffer, at: number): number {
  for (let i = at + 1; i < body.length; i++) {
    if (body[i] === BACKSLASH) i++
    else if (body[i] === QUOTE) return i + 1
  }
  return -1
}

/** Index after the value that begins at `at`; -1 if it does not end. */
function endOfValue(body: Buffer, at: number): number {
  if (body[at] === QUOTE) return endOfString(body, at)
  let depth = 0
  for (let i = at; i < body.length;) {
    const byte = body[i]
    if (byte === QUOTE) {
      i = endOfString(body, i)
      if (i < 0) return -1
      continue
    }
    if (depth === 0 && (byte === COMMA || byte === CLOSE_OBJECT || isSpace(byte))) return i === at ? -1 : i
    if (byte === OPEN_OBJECT || byte === OPEN_LIST) depth++
    if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) depth--
    i++
    if (depth === 0 && (byte === CLOSE_OBJECT || byte === CLOSE_LIST)) return i
  }
  return -1
}

/** The text of a JSON string in the body; null if it is no string. */
export function stringAt(body: Buffer, range: ByteRange): string | null {
  try {
    const value: unknown = JSON.parse(body.toString('utf8', range.start, range.end))
    return typeof value === 'string' ? value : null
  } catch {
    return null // no JSON string: the caller says what that means
  }
}

/** Ranges of the values of `names` at the top level. Names written with escapes count too. */
export function topLevelRanges(body: Buffer, names: ReadonlySet<string>): TopLevel {
  const ranges = new Map<string, ByteRange>()
  let i = 0
  const skip = (): void => {
    while (isSpace(body[i])) i++
  }
  skip()
  if (body[i++] !== OPEN_OBJECT) return { kind: 'not-object' }
  skip()
  if (body[i] === CLOSE_OBJECT) return { kind: 'object', ranges }
  for (;;) {
    skip()
    const keyEnd = body[i] === QUOTE ? endOfString(body, i) : -1
    if (keyEnd < 0) return { kind: 'not-object' }
    const name = stringAt(body, { start: i, end: keyEnd })
    i = keyEnd
    skip()
    if (body[i++] !== COLON) return { kind: 'not-object' }
    skip()
    const end = endOfValue(body, i)
    if (end < 0) return { kind: 'not-object' }
    if (name !== null && names.has(name)) {
      if (ranges.has(name)) return { kind: 'repeated', name }
      ranges.set(name, { start: i, end })
    }
    i = end
    skip()
    if (body[i] === CLOSE_OBJECT) return { kind: 'object', ranges }
    if (body[i++] !== COMMA) return { kind: 'not-object' }
  }
}

/** The body with the bytes of one range replaced by a JSON string; every other byte stays. */
export function withStringAt(body: Buffer, range: ByteRange, text: string): Buffer {
  return Buffer.concat([body.subarray(0, range.start), Buffer.from(JSON.stringify(text), 'utf8'), body.subarray(range.end)])
}
