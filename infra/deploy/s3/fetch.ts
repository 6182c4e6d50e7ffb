/**
 * A real S3 server for tests and demonstrations: versitygw, built from its module with Go.
 *
 * Owns: where the program lies (`.tools/bin`, ignored by git), its version, building it once. Nothing is installed outside the project.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const TOOLS = fileURLToPath(new URL('../../../.tools/bin/', import.meta.url))
const MODULE = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0'
const BUILD_TIMEOUT_MS = 900_000

export type S3Server = { readonly binary: string; readonly reason: null } | { readonly binary: null; readonly reason: string }

/** The program if it was built before. */
export async function findS3Server(dir: string = TOOLS): Promise<S3Server> {
  const binary = join(dir, 'versitygw')
  try {
    await access(binary, constants.X_OK)
    return { binary, reason: null }
  } catch {
    return { binary: null, reason: 'versitygw was not built yet (npm test builds it where Go is installed)' }
  }
}

/** Ends with the exit code and the last of stderr; never rejects. `go` = the program to run. */
function install(go: string, dir: string): Promise<{ readonly code: number | null; readonly said: string }> {
  return new Promise((resolve) => {
    let said = ''
    const child = spawn(go, ['install', MODULE], {
      env: { ...process.env, GOBIN: dir, CGO_ENABLED: '0', GOFLAGS: '' },
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: BUILD_TIMEOUT_MS,
    })
    child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString('utf8')).slice(-2000)))
    child.on('error', (error: NodeJS.ErrnoException) => resolve({ code: null, said: error.code === 'ENOENT' ? 'Go is not installed' : error.message }))
    child.on('close', (code) => resolve({ code, said: said.trim().split('\n').at(-1) ?? '' }))
  })
}

/** Finds the program or builds it; `reason` says why there is none. Never rejects. */
export async function ensureS3Server(onProgress: (text: string) => void, dir: string = TOOLS, go = 'go'): Promise<S3Server> {
  const found = await findS3Server(dir)
  if (found.binary !== null) return found
  onProgress('building the S3 server for the tests (versitygw, some minutes) …')
  await mkdir(dir, { recursive: true })
  const { code, said } = await install(go, dir)
  return code === 0 ? findS3Server(dir) : { binary: null, reason: `versitygw could not be built: ${said}` }
}
