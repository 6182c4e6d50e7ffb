/** A copy of the repository's site in a folder of its own, and `bin/sluice` run on it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { registerCompletionHandler } from 'ava'
import { parse, stringify } from 'yaml'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

// oxlint-disable-next-line typescript/no-explicit-any -- the site file as written, edited freely by tests
export type SiteDocument = any

export interface TestSite {
  readonly dir: string
  readonly file: string
  remove(): void
}

/** The repository's site.yaml with free ports and its state in a temporary folder; `edit` changes the rest. */
export function siteInFolder(edit: (site: SiteDocument) => void = () => {}): TestSite {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-site-'))
  const site: SiteDocument = parse(readFileSync(join(ROOT, 'site.yaml'), 'utf8'))
  site.functions['assess-health'] = { rules: join(ROOT, 'schemas/health-rules.yaml') }
  site.egress.policy = join(ROOT, 'policy')
  site.observability = { metrics: { listen: '127.0.0.1:0' }, health: { listen: '127.0.0.1:0' } }
  edit(site)
  const file = join(dir, 'site.yaml')
  writeFileSync(file, stringify(site))
  return { dir, file, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

export interface Finished {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunningCommand {
  readonly child: ChildProcess
  readonly stderr: () => string
  readonly stdout: () => string
  readonly finished: Promise<Finished>
}

const running = new Set<ChildProcess>()
// What a failed test leaves behind would keep the whole run waiting. No hook of ava's: a file that waits for a broker before it declares its tests
// could then declare none.
registerCompletionHandler(() => {
  for (const child of running) child.kill('SIGKILL')
})

/** Starts `bin/sluice` without waiting. `input` null = the caller writes standard input itself. */
export function startSluice(args: readonly string[], environment: NodeJS.ProcessEnv = {}, input: string | Buffer | null = ''): RunningCommand {
  const child = spawn(join(ROOT, 'bin/sluice'), args, { cwd: ROOT, env: { ...process.env, ...environment }, stdio: ['pipe', 'pipe', 'pipe'] })
  running.add(child)
  child.on('close', () => running.delete(child))
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('utf8')))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')))
  child.stdin.on('error', () => {})
  if (input !== null) child.stdin.end(input)
  const finished = new Promise<Finished>((resolve) => child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr })))
  return { child, stdout: () => stdout, stderr: () => stderr, finished }
}

/** Runs `bin/sluice` to its end. */
export function sluice(args: readonly string[], environment?: NodeJS.ProcessEnv, input?: string | Buffer): Promise<Finished> {
  return startSluice(args, environment, input).finished
}
