/**
 * How a process of ours comes to end other than by itself: asked to by a signal, or because something was thrown that nobody caught.
 *
 * Owns: the process-wide listeners. A handler may leave a timer or a promise behind that throws later (SLU_HANDLER_UNCAUGHT): Node would print a bare
 * stack and end at once, with what was done and not committed to be done again.
 */
import { SluiceError } from '../schemas/errors.ts'

export interface Ending {
  /** Resolves with the name of the first SIGINT or SIGTERM; a second one ends the process at once. */
  readonly asked: Promise<string>
  /** Rejects with SLU_HANDLER_UNCAUGHT; never resolves. */
  readonly uncaught: Promise<never>
  /** Aborted by the first of all this. */
  readonly signal: AbortSignal
}

/** `tell` hears of everything uncaught at once: what comes while the process ends already changes nothing more. */
export function untilSignal(tell: (error: SluiceError) => void, events: Pick<NodeJS.EventEmitter, 'on'> = process): Ending {
  const controller = new AbortController()
  const asked = new Promise<string>((resolve) => {
    let seen = 0
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      events.on(signal, () => {
        if (++seen > 1) process.exit(130)
        resolve(signal)
        controller.abort()
      })
  })
  const uncaught = new Promise<never>((_resolve, reject) => {
    // Rejections that nobody handles come here too: Node throws them.
    events.on('uncaughtException', (thrown: unknown, origin: string) => {
      const error = new SluiceError('SLU_HANDLER_UNCAUGHT', origin, thrown)
      tell(error)
      reject(error)
      controller.abort()
    })
  })
  // It may come while nobody waits yet, or any more.
  uncaught.catch(() => undefined)
  return { asked, uncaught, signal: controller.signal }
}
