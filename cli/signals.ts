/** How a process of ours is asked to end. */

export interface Ending {
  /** Resolves with the name of the first SIGINT or SIGTERM; a second one ends the process at once. */
  readonly asked: Promise<string>
  /** Aborted by the first. */
  readonly signal: AbortSignal
}

export function untilSignal(): Ending {
  const controller = new AbortController()
  const asked = new Promise<string>((resolve) => {
    let seen = 0
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.on(signal, () => {
        if (++seen > 1) process.exit(130)
        resolve(signal)
        controller.abort()
      })
  })
  return { asked, signal: controller.signal }
}
