/**
 * The processes of the site: `bin/sluice run …`, as an operator would start them, and what is done to them.
 *
 * Owns: start, kill (SIGKILL), freeze and thaw (SIGSTOP, SIGCONT), the start of a killed one anew, and the stop. A process that was running and ends
 * though nobody killed it is a defect, kept in `crashes`: members must come back by themselves, whatever brokers and network do. One that was
 * killed and cannot start at once (its brokers are away) is started again, as any supervisor does; `startRetries` counts that.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const SLUICE = fileURLToPath(new URL('../../bin/sluice', import.meta.url))
const STOP_MS = 30_000
const START_RETRY_MS = 1000
const TAIL_CHARS = 4000

export interface MemberSpec {
  readonly name: string
  readonly functions: readonly string[]
  /** This process's own site file: not all know the same brokers. */
  readonly siteFile: string
}

export type MemberState = 'starting' | 'running' | 'frozen' | 'down'

export interface Members {
  readonly names: readonly string[]
  /** Processes that ended by themselves, with their last words. */
  readonly crashes: readonly string[]
  startRetries(): number
  state(name: string): MemberState
  /** SIGKILL; starts anew after `downMs`. False if it does not run. */
  kill(name: string, downMs: number): boolean
  freeze(name: string): boolean
  thaw(name: string): void
  /** SIGTERM for all; what does not end in time is killed and is a crash. */
  stop(): Promise<void>
  /** SIGKILL for all, at once. */
  abandon(): Promise<void>
}

interface Member {
  readonly spec: MemberSpec
  child: ChildProcess | null
  state: MemberState
  words: string
  ended: Promise<void>
}

/** Logs go to `dir`, one file a member. `program` stands for `bin/sluice` in tests. */
export function startMembers(specs: readonly MemberSpec[], dir: string, environment: NodeJS.ProcessEnv, program = SLUICE): Members {
  const crashes: string[] = []
  const abort = new AbortController()
  let startRetries = 0
  let isStopping = false

  const launch = (member: Member): void => {
    const { name, functions, siteFile } = member.spec
    const child = spawn(program, ['run', ...functions, '--site', siteFile], { env: { ...process.env, ...environment }, stdio: ['ignore', 'ignore', 'pipe'] })
    const log = createWriteStream(join(dir, `${name}.log`), { flags: 'a' })
    log.write(`--- ${new Date().toISOString()} process ${child.pid}\n`)
    member.child = child
    member.state = 'starting'
    member.words = ''
    child.stderr.on('data', (chunk: Buffer) => {
      log.write(chunk)
      member.words = (member.words + chunk.toString('utf8')).slice(-TAIL_CHARS)
      if (member.state === 'starting' && member.words.includes(' running; ')) member.state = 'running'
    })
    member.ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        const was = member.state
        member.child = null
        member.state = 'down'
        // Not before its log is written: whoever waits may remove the folder.
        log.end(resolve)
        if (isStopping || was === 'down') return
        if (was === 'starting') {
          startRetries++
          void again(member, START_RETRY_MS)
          return
        }
        crashes.push(`${name} ended by itself (${signal ?? `exit ${code}`}):\n${member.words}`)
        void again(member, START_RETRY_MS)
      })
    })
  }

  const again = async (member: Member, afterMs: number): Promise<void> => {
    await delay(afterMs, undefined, { signal: abort.signal }).catch(() => {})
    if (!isStopping) launch(member)
  }

  const members = new Map(specs.map((spec) => [spec.name, { spec, child: null, state: 'down', words: '', ended: Promise.resolve() } as Member]))
  for (const member of members.values()) launch(member)
  const of = (name: string): Member => members.get(name) as Member
  const all = [...members.values()]

  return {
    names: specs.map((s) => s.name),
    crashes,
    startRetries: () => startRetries,
    state: (name) => of(name).state,
    kill: (name, downMs) => {
      const member = of(name)
      if (member.state !== 'running') return false
      // Before the signal: its end is our doing.
      member.state = 'down'
      member.child?.kill('SIGKILL')
      void member.ended.then(() => again(member, downMs))
      return true
    },
    freeze: (name) => {
      const member = of(name)
      if (member.state !== 'running') return false
      member.state = 'frozen'
      return member.child?.kill('SIGSTOP') === true
    },
    thaw: (name) => {
      const member = of(name)
      if (member.state !== 'frozen') return
      member.state = 'running'
      member.child?.kill('SIGCONT')
    },
    stop: async () => {
      isStopping = true
      abort.abort()
      for (const { child, state } of all) {
        if (state === 'frozen') child?.kill('SIGCONT')
        child?.kill('SIGTERM')
      }
      await Promise.race([Promise.all(all.map((m) => m.ended)), delay(STOP_MS, undefined, { ref: false })])
      for (const { spec, child, words } of all)
        if (child !== null) {
          crashes.push(`${spec.name} did not stop within ${STOP_MS} ms:\n${words}`)
          child.kill('SIGKILL')
        }
      await Promise.all(all.map((m) => m.ended))
    },
    abandon: async () => {
      isStopping = true
      abort.abort()
      for (const { child } of all) child?.kill('SIGKILL')
      await Promise.all(all.map((m) => m.ended))
    },
  }
}
