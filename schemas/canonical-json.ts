/**
 * Canonical JSON: RFC 8785 restricted to safe integers and strings (egress.md §1), for objects that leave and leaves of the ledger.
 *
 * Owns: the bytes. Members sorted by UTF-16 code units, no white space. Anything whose text could differ between two writers is refused
 * (E03): floats, −0, booleans, null, undefined, lone surrogates, member names that are not plain.
 */

export type Canonical = number | string | readonly Canonical[] | { readonly [name: string]: Canonical }

/** Member names: ASCII, never one of the names that JavaScript objects inherit (E02, E03). */
const NAME = /^[a-z][a-z0-9_]{0,63}$/
const DEPTH_MAX = 8

function text(value: string): string {
  if (!value.isWellFormed()) throw new TypeError('a string with a lone surrogate has no canonical form')
  return JSON.stringify(value)
}

function render(value: unknown, depth: number): string {
  if (depth > DEPTH_MAX) throw new TypeError(`deeper than ${DEPTH_MAX} levels`)
  if (typeof value === 'string') return text(value)
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) throw new TypeError('only safe integers have a canonical form here')
    return String(value)
  }
  if (Array.isArray(value)) return `[${value.map((v) => render(v, depth + 1)).join(',')}]`
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) throw new TypeError(`${typeof value} has no canonical form here`)
  const members = Object.keys(value)
    .sort()
    .map((name) => {
      if (!NAME.test(name) || name === 'constructor') throw new TypeError(`member name ${JSON.stringify(name).slice(0, 80)}`)
      return `${text(name)}:${render((value as Record<string, unknown>)[name], depth + 1)}`
    })
  return `{${members.join(',')}}`
}

/** The canonical text. Throws TypeError for what has none. */
export function canonicalJson(value: unknown): string {
  return render(value, 0)
}

/**
 * The value of a text that is exactly what `canonicalJson` writes: no duplicate members, no other spelling of a number (E03).
 * Throws TypeError or SyntaxError.
 */
export function parseCanonicalJson(source: string): Canonical {
  const value = JSON.parse(source) as Canonical
  if (canonicalJson(value) !== source) throw new TypeError('not in canonical form')
  return value
}
