/** Numbers that depend on a seed and on what they are for, never on the order in which they are asked for: input and reference ask apart. */

/** 0 ≤ n < 2^32. */
export function draw(seed: number, ...about: readonly number[]): number {
  let h = seed >>> 0
  for (const part of about) {
    h = Math.imul(h ^ (part >>> 0), 0x9e3779b1)
    h = Math.imul(h ^ (h >>> 15), 0x85ebca77)
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae3d) ^ (h >>> 16)
  }
  return (h ^ (h >>> 16)) >>> 0
}

/** 0 ≤ n < below. */
export const drawBelow = (below: number, seed: number, ...about: readonly number[]): number => draw(seed, ...about) % below

/** True for one of `every` in the long run. */
export const isDrawn = (every: number, seed: number, ...about: readonly number[]): boolean => drawBelow(every, seed, ...about) === 0
