/**
 * Which processes of a site run on this host, and where each answers: several share a site file, and only one gets the ports that it names.
 *
 * Owns: one small file a process, `.sluice/processes/<pid>.json` beside the site file, there from when its status is served until it stops; what a killed
 * process left behind is removed by whoever comes next. A folder that cannot be written or read is no failure: `sluice ps --url` does without.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { LoadedSite } from './load-site.ts'

export interface KnownProcess {
  readonly pid: number
  /** Of its health listener. */
  readonly url: string
}

const FOLDER = '.sluice/processes'

/** What `act` returns, or null where the folder does not let it. */
function attempt<T>(act: () => T): T | null {
  try {
    return act()
  } catch {
    return null
  }
}

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** A file of another host, of a container or of somebody else's making says nothing: null. */
function readProcess(file: string): KnownProcess | null {
  const read = attempt(() => JSON.parse(readFileSync(file, 'utf8')) as Partial<KnownProcess & { host: string }> | null)
  if (read === null || read.host !== hostname() || !Number.isSafeInteger(read.pid) || typeof read.url !== 'string') return null
  return { pid: read.pid as number, url: read.url }
}

/** Those that are alive. */
export function knownProcesses(loaded: Pick<LoadedSite, 'pathOf'>): KnownProcess[] {
  const folder = loaded.pathOf(FOLDER)
  const names = attempt(() => readdirSync(folder)) ?? []
  return names
    .filter((name) => /^\d{1,10}\.json$/.test(name))
    .flatMap((name) => {
      const known = readProcess(join(folder, name))
      if (known === null) return []
      if (isAlive(known.pid)) return [known]
      attempt(() => rmSync(join(folder, name)))
      return []
    })
    .sort((a, b) => a.pid - b.pid)
}

/** Says where this process answers; the result takes it back. */
export function registerProcess(loaded: Pick<LoadedSite, 'pathOf'>, { pid, url }: KnownProcess): () => void {
  const folder = loaded.pathOf(FOLDER)
  const file = join(folder, `${pid}.json`)
  attempt(() => {
    mkdirSync(folder, { recursive: true })
    writeFileSync(file, `${JSON.stringify({ pid, host: hostname(), url })}\n`)
  })
  return () => void attempt(() => rmSync(file, { force: true }))
}
