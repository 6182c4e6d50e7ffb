/**
 * Threads that run seeds: each given the next seed when it has answered.
 *
 * Owns: the threads. A thread that does not answer within the bound is ended; its seed is answered as hanging.
 */
import { Worker } from 'node:worker_threads'
import type { Mutant } from './mutants.ts'
import type { Answered, Asked } from './worker.ts'

/** A run takes milliseconds. */
const ANSWER_WITHIN_MS = 60_000

const start = (mutant: Mutant | null): Worker => new Worker(new URL('worker.ts', import.meta.url), { workerData: { mutant }, execArgv: [] })

function ask(worker: Worker, asked: Asked): Promise<Answered> {
  return new Promise((resolve) => {
    const over = (answered: Answered): void => {
      clearTimeout(timer)
      worker.removeAllListeners('message')
      worker.removeAllListeners('error')
      resolve(answered)
    }
    const timer = setTimeout(() => {
      void worker.terminate()
      over({ ...asked, thrown: `no answer within ${ANSWER_WITHIN_MS / 1000} s`, isDead: true })
    }, ANSWER_WITHIN_MS)
    worker.once('message', over)
    worker.once('error', (error: Error) => over({ ...asked, thrown: error.stack ?? error.message, isDead: true }))
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
    worker.postMessage(asked)
  })
}

/** Runs `next()` until it gives no more, on `threads` threads; `heard` returns false to stop. */
export async function crew(next: () => Asked | undefined, heard: (answered: Answered) => boolean, threads: number, mutant: Mutant | null = null): Promise<void> {
  let isOver = false
  const work = async (): Promise<void> => {
    const worker = start(mutant)
    try {
      for (let asked = next(); asked !== undefined && !isOver; asked = next()) {
        const answered = await ask(worker, asked)
        if (!heard(answered) || ('thrown' in answered && answered.isDead)) isOver = true
      }
    } finally {
      await worker.terminate()
    }
  }
  await Promise.all(Array.from({ length: threads }, work))
}
