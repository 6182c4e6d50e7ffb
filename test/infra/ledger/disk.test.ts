import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { lockFolder, makeFolder, nodeDisk } from '../../../infra/ledger/disk.ts'
import { until } from '../../helpers/until.ts'

const folder = (): string => mkdtempSync(join(tmpdir(), 'sluice-disk-'))

test('disk: a file is replaced whole, with its mode, and no temporary one is left', async (t) => {
  const dir = folder()
  const path = join(dir, 'key')
  await nodeDisk.replace(path, 'one', 0o600)
  await nodeDisk.replace(path, 'two', 0o600)
  t.is(readFileSync(path, 'utf8'), 'two')
  t.is(statSync(path).mode & 0o777, 0o600)
  t.deepEqual(readdirSync(dir), ['key'])
  t.is(await nodeDisk.read(join(dir, 'absent')), null)
  rmSync(dir, { recursive: true })
})

test('disk: what cannot be read is an error, never taken for absent', async (t) => {
  const dir = folder()
  await t.throwsAsync(() => nodeDisk.read(dir), { code: 'EISDIR' })
  await t.throwsAsync(() => nodeDisk.replace(join(dir, 'no/such/folder'), 'x'), { code: 'ENOENT' })
  rmSync(dir, { recursive: true })
})

test('disk: an appended file is cut to its sound part first and goes on from there', async (t) => {
  const dir = folder()
  const path = join(dir, 'wal')
  writeFileSync(path, 'soundtorn')
  const file = await nodeDisk.openAppend(path, 5)
  t.is(file.bytes, 5)
  await file.append(Buffer.from(' and more'))
  t.is(file.bytes, 14)
  await file.close()
  t.is(readFileSync(path, 'utf8'), 'sound and more')
  rmSync(dir, { recursive: true })
})

test('disk: a folder has one writer; a killed one leaves no lock behind', async (t) => {
  const dir = join(folder(), 'ledger')
  makeFolder(dir)
  const unlock = lockFolder(dir)
  t.throws(() => lockFolder(dir), { message: /SLU_LEDGER_UNWRITABLE/ })
  unlock()
  const module = fileURLToPath(new URL('../../../infra/ledger/disk.ts', import.meta.url))
  // The lock lives as long as the function that lets it go is kept: dropped, it would be collected, and the lock with it.
  const script = `const { lockFolder } = await import(${JSON.stringify(module)}); globalThis.unlock = lockFolder(${JSON.stringify(dir)}); console.log('locked'); setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')))
  await until(() => said.includes('locked'), 20_000)
  t.throws(() => lockFolder(dir), { message: /SLU_LEDGER_UNWRITABLE/ }, 'another process is no reason to share')
  child.kill('SIGKILL')
  await new Promise((resolve) => child.once('close', resolve))
  lockFolder(dir)()
  t.true(existsSync(join(dir, 'lock')))
})
