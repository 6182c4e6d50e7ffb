/**
 * A guard taken out of the source text while the module is loaded: a mutant of the tree without a copy of it.
 *
 * Owns: the replacement. The text must occur exactly once: a mutant whose text is gone proves nothing, so it throws. Call before the module is imported.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { Mutant } from './mutants.ts'

const ROOT = new URL('../../', import.meta.url)

/** Throws unless each text stands in `source` once. */
export function mutated(source: string, { file, edits }: Pick<Mutant, 'file' | 'edits'>): string {
  return edits.reduce((text, [find, replace]) => {
    const count = text.split(find).length - 1
    if (count !== 1) throw new Error(`${file} holds the text of the guard ${count} times, must be once: ${find}`)
    return text.replace(find, () => replace)
  }, source)
}

export function loadMutated(mutant: Mutant): void {
  const target = new URL(mutant.file, ROOT).href
  const source = mutated(readFileSync(fileURLToPath(target), 'utf8'), mutant)
  registerHooks({
    load: (url, context, next) => {
      const loaded = next(url, context)
      return url === target ? { ...loaded, source } : loaded
    },
  })
}
