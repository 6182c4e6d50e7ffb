/**
 * One call of a task's handler: over when the handler is, or a moment after its deadline or a cancel, whichever comes first (T1, R1).
 *
 * Owns: why the call is to end early, who is told, and whose answer counts. A handler that ignores its abort is given up after `ABORT_GRACE_MS`, at
 * once where its partition is gone; what it still does then is its own, its answer is not used.
 */
import { asSluiceError, SluiceError } from '../schemas/errors.ts'
import type { Clock } from '../schemas/ports.ts'
import type { Emit } from './define-function.ts'

/** How long an aborted handler may still answer. */
const ABORT_GRACE_MS = 1000

export interface TaskCall {
  readonly signal: AbortSignal
  /** The reason that is given first counts. `isGone`: nobody waits for an answer any more. */
  cancel(reason: SluiceError, isGone?: boolean): void
  /** Once. Rejects with what `handle` threw; with the reason of the cancel where that came first and the grace is over. */
  run(handle: () => Promise<readonly Emit[]>): Promise<readonly Emit[]>
}

export function createTaskCall(clock: Clock, deadlineMs: number): TaskCall {
  const controller = new AbortController()
  let reason: SluiceError | null = null
  let isOver = false
  let giveUp: (why: SluiceError) => void = () => {}

  const cancel = (why: SluiceError, isGone = false): void => {
    if (isOver || (reason !== null && !isGone)) return
    const first = (reason ??= why)
    cancelTimer()
    cancelTimer = clock.setTimer(isGone ? 0 : ABORT_GRACE_MS, () => giveUp(first))
    controller.abort(first)
  }
  let cancelTimer = clock.setTimer(deadlineMs, () => cancel(new SluiceError('SLU_HANDLER_TIMEOUT', `${deadlineMs} ms`)))

  return {
    signal: controller.signal,
    cancel,
    run: (handle) =>
      new Promise((resolve, reject) => {
        const over = (): void => {
          isOver = true
          cancelTimer()
        }
        giveUp = (why) => {
          over()
          reject(why)
        }
        try {
          handle().then(
            (emits) => {
              over()
              resolve(emits)
            },
            (thrown: unknown) => {
              over()
              reject(reason === null ? thrown : asSluiceError(thrown, 'SLU_HANDLER_TIMEOUT'))
            },
          )
        } catch (thrown) {
          over()
          reject(thrown)
        }
      }),
  }
}
