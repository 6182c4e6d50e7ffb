/** A real S3 server (versitygw) on a free loopback port; null where none is there, an error where one is required. */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findS3Server } from '../../infra/deploy/s3/fetch.ts'
import { until } from './until.ts'
import { freePort } from './free-port.ts'

export const OWNER = '123456789012'
export const SECRET = 'a-secret-of-the-tests'
export const BUCKET = 'site-summaries'
export const REGION = 'eu-central-1'

export interface TestS3Server {
  readonly endpoint: string
  readonly port: number
  stop(): Promise<void>
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve((socket.destroy(), true)))
    socket.once('error', () => resolve(false))
  })
}

/** Path of the server, or null with the reason on stderr; throws when SLUICE_REQUIRE_S3=1 and there is none. */
export async function s3ForTests(): Promise<string | null> {
  const binary = process.env['SLUICE_TEST_S3_BINARY'] ?? (await findS3Server()).binary
  if (binary !== null) return binary
  if (process.env['SLUICE_REQUIRE_S3'] === '1') throw new Error('SLUICE_REQUIRE_S3 is set and there is no S3 server')
  return null
}

export async function startS3Server(binary: string): Promise<TestS3Server> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-s3-'))
  mkdirSync(join(dir, 'data', BUCKET), { recursive: true })
  const port = await freePort()
  const child = spawn(binary, ['--port', `127.0.0.1:${port}`, '--region', REGION, 'posix', join(dir, 'data')], {
    env: { ROOT_ACCESS_KEY: OWNER, ROOT_SECRET_KEY: SECRET },
    stdio: 'ignore',
  })
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  await until(() => answers(port), 20_000, 'the S3 server answering')
  return {
    endpoint: `http://127.0.0.1:${port}`,
    port,
    stop: async () => {
      child.kill('SIGTERM')
      await ended
      rmSync(dir, { recursive: true, force: true })
    },
  }
}
