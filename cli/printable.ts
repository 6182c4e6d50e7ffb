/**
 * Text of others as a terminal may show it: keys, values, headers and messages come from producers, brokers and files that nobody vouches for.
 *
 * Owns: which characters a terminal would obey instead of showing, and how they are written out: `\x1b`, `\u202e`. In JSON they stay the same string.
 */

/** C0 but tab and line feed, DEL, C1; the bidi controls (UAX #9) and the line and paragraph separators. */
// oxlint-disable-next-line no-control-regex
const OBEYED = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
// oxlint-disable-next-line no-control-regex
const BREAKS = /[\t\n]/g

const code = (character: string, digits: number): string => character.charCodeAt(0).toString(16).padStart(digits, '0')
const written = (character: string): string => (character.charCodeAt(0) < 0x100 ? `\\x${code(character, 2)}` : `\\u${code(character, 4)}`)

/** Lines stay lines. */
export const printable = (text: string): string => text.replace(OBEYED, written)

/** For what must not pretend to be a line of ours. */
export const onOneLine = (text: string): string => printable(text).replace(BREAKS, written)

/** Lines stay lines, each behind `indent`. */
export const indented = (text: string, indent: string): string => printable(text).replace(/^/gm, indent)

/** At most `charsMax` of it, and how to see the rest. */
export function shortened(text: string, charsMax: number, option: string): string {
  if (text.length <= charsMax) return text
  const kept = text.slice(0, charsMax).replace(/[\ud800-\udbff]$/, '')
  return `${kept}\n[cut: ${kept.length} of ${text.length} characters; all with ${option}]`
}

/** JSON whose strings hold nothing that a terminal obeys; the same document. */
export const printableJson = (json: string): string => json.replace(OBEYED, (character) => `\\u${code(character, 4)}`)

/** A tree of plain values with every text on one line. */
export function printableTree<T>(tree: T): T {
  if (typeof tree === 'string') return onOneLine(tree) as T
  if (Array.isArray(tree)) return tree.map((item: unknown) => printableTree(item)) as T
  if (typeof tree === 'object' && tree !== null) return Object.fromEntries(Object.entries(tree).map(([name, value]) => [onOneLine(name), printableTree<unknown>(value)])) as T
  return tree
}
