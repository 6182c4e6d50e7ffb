/** Waits for a condition with a bound, instead of sleeping. */

/** Resolves once `condition` is true (it may be asynchronous); rejects with the last thing seen when `boundMs` is over. */
export async function until(condition: () => boolean | Promise<boolean>, boundMs = 10_000, what: string | (() => string) = 'the condition'): Promise<void> {
  const endMs = performance.now() + boundMs
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`${typeof what === 'string' ? what : what()} did not hold within ${boundMs} ms`)
    await new Promise<void>((resolve) => setTimeout(resolve, 2))
  }
}
