import { readFileSync, rmSync, statSync, writeFileSync, cpSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import test from 'ava'
import fc from 'fast-check'
import { nodeDisk, type Disk } from '../../../infra/ledger/disk.ts'
import { openLedger } from '../../../infra/ledger/ledger.ts'
import { verifyLedger } from '../../../infra/ledger/verify.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import type { DecisionLeaf, IntentLeaf } from '../../../schemas/ledger.ts'
import { NOW_MS, ORIGIN, temporaryFolder } from '../../helpers/gate.ts'

const code = (error: unknown): string => (error instanceof SluiceError ? error.code : String(error))
const denied = (window: number): DecisionLeaf => ({
  type: 'denied',
  site: 'hall-1',
  metric: 'hw.power',
  grid: '5s',
  window,
  cell: 'blackwell-a',
  bundle: 'b'.repeat(64),
  version: 1,
  reasons: ['not-permitted'],
  source: { topic: 'metrics.windows', partition: 0, first: window, last: window },
  at: NOW_MS,
})
const object = Buffer.from('{"value":1}')
const intent = (window: number): IntentLeaf => ({
  ...denied(window),
  type: 'intent',
  decision: 'released',
  key: `hall-1/hw.power/5s/${window}/blackwell-a.json`,
  destination: 'carry',
  sha256: createHash('sha256').update(object).digest('hex'),
  bytes: object.length,
  facts: { min_group: 'pass' },
  budget: { bytes: object.length, objects: 1 },
})

async function filled(leaves: number): Promise<string> {
  const dir = temporaryFolder()
  const ledger = await openLedger({ dir, origin: ORIGIN })
  for (let i = 0; i < leaves; i++) await ledger.append([denied(i)])
  await ledger.close()
  return dir
}

test('ledger: what was acknowledged is there after a restart, with open intents and their bytes', async (t) => {
  const dir = temporaryFolder()
  const ledger = await openLedger({ dir, origin: ORIGIN })
  await ledger.append([denied(1)])
  await ledger.append([intent(2)], [object])
  const { size, root } = ledger
  await ledger.close()
  const again = await openLedger({ dir, origin: ORIGIN })
  t.deepEqual([again.size, again.root], [size, root])
  t.is(again.decisionFor(denied(1))?.decision, 'denied')
  t.deepEqual(
    again.openIntents().map((i) => i.index),
    [1],
  )
  t.deepEqual(await again.object(intent(2).sha256), object)
  t.deepEqual(again.usage(NOW_MS), { bytesToday: object.length, objectsThisHour: 1 })
  t.is(statSync(join(dir, 'key')).mode & 0o777, 0o600)
  await again.close()
})

test('ledger: a second decision of a cell is refused and writes nothing (E08)', async (t) => {
  const ledger = await openLedger({ dir: temporaryFolder(), origin: ORIGIN })
  const both = await Promise.allSettled([ledger.append([denied(1)]), ledger.append([denied(1)])])
  t.deepEqual(
    both.map((b) => b.status),
    ['fulfilled', 'rejected'],
  )
  t.is(code(await t.throwsAsync(ledger.append([intent(1)], [object]))), 'SLU_EGRESS_HOLD')
  t.is(ledger.size, 1)
  await ledger.close()
})

test('ledger: a second writer is refused, it never interleaves', async (t) => {
  const dir = temporaryFolder()
  const ledger = await openLedger({ dir, origin: ORIGIN })
  t.is(code(await t.throwsAsync(openLedger({ dir, origin: ORIGIN }))), 'SLU_LEDGER_UNWRITABLE')
  await ledger.close()
  await (await openLedger({ dir, origin: ORIGIN })).close()
})

test('ledger: a torn tail at any byte loses nothing acknowledged and invents nothing (E18)', async (t) => {
  const dir = await filled(3)
  const acknowledged = readFileSync(join(dir, 'wal'))
  const more = temporaryFolder()
  cpSync(dir, more, { recursive: true })
  const ledger = await openLedger({ dir: more, origin: ORIGIN })
  await ledger.append([denied(3), denied(4)])
  await ledger.close()
  const longer = readFileSync(join(more, 'wal'))
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: acknowledged.length, max: longer.length - 1 }), async (cut) => {
      writeFileSync(join(dir, 'wal'), longer.subarray(0, cut))
      const again = await openLedger({ dir, origin: ORIGIN })
      const { size } = again
      await again.close()
      return size === 3 && readFileSync(join(dir, 'wal')).equals(acknowledged)
    }),
    { numRuns: 40 },
  )
  t.pass()
})

test('ledger: a flipped bit in the acknowledged region is named and held, never cut away (E29)', async (t) => {
  const dir = await filled(3)
  const sound = readFileSync(join(dir, 'wal'))
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: sound.length - 1 }), fc.integer({ min: 0, max: 7 }), async (at, bit) => {
      const bad = Buffer.from(sound)
      bad.writeUInt8(bad.readUInt8(at) ^ (1 << bit), at)
      writeFileSync(join(dir, 'wal'), bad)
      const error = await openLedger({ dir, origin: ORIGIN }).then(
        () => null,
        (e: unknown) => e,
      )
      const verdict = await verifyLedger(dir)
      return code(error) === 'SLU_LEDGER_CORRUPT' && !verdict.verified && verdict.problem?.leaf !== null && readFileSync(join(dir, 'wal')).equals(bad)
    }),
    { numRuns: 60 },
  )
  t.pass()
})

test('ledger: shorter than its published checkpoint, or without it, it does not verify (E18)', async (t) => {
  const dir = await filled(3)
  const wal = readFileSync(join(dir, 'wal'))
  writeFileSync(join(dir, 'wal'), wal.subarray(0, 40))
  t.is(code(await t.throwsAsync(openLedger({ dir, origin: ORIGIN }))), 'SLU_LEDGER_CORRUPT')
  t.is(readFileSync(join(dir, 'wal')).length, 40)
  t.like(await verifyLedger(dir), { verified: false, problem: { leaf: 0 } })
})

test('ledger: a failed flush is final, nothing is acknowledged after it', async (t) => {
  let isBroken = false
  const disk: Disk = {
    ...nodeDisk,
    openAppend: async (path, bytes) => {
      const file = await nodeDisk.openAppend(path, bytes)
      return { ...file, bytes: file.bytes, append: async (more) => (isBroken ? Promise.reject(new Error('EIO')) : file.append(more)), close: () => file.close() }
    },
  }
  const ledger = await openLedger({ dir: temporaryFolder(), origin: ORIGIN, disk })
  await ledger.append([denied(0)])
  isBroken = true
  t.is(code(await t.throwsAsync(ledger.append([denied(1)]))), 'SLU_LEDGER_UNWRITABLE')
  isBroken = false
  t.is(code(await t.throwsAsync(ledger.append([denied(2)]))), 'SLU_LEDGER_UNWRITABLE')
  t.is(ledger.size, 1)
  await ledger.close()
})

test('ledger: changed bytes of an object are named by the leaf of their intent (E18)', async (t) => {
  const dir = temporaryFolder()
  const ledger = await openLedger({ dir, origin: ORIGIN })
  await ledger.append([denied(0)])
  await ledger.append([intent(1)], [object])
  await ledger.close()
  writeFileSync(join(dir, 'objects', intent(1).sha256), 'x')
  t.like(await verifyLedger(dir), { verified: false, problem: { leaf: 1 } })
})

test('ledger: leaves without their published checkpoint are held, or a torn tail could hide what was acknowledged (E18)', async (t) => {
  const dir = await filled(2)
  rmSync(join(dir, 'checkpoint'))
  t.is(code(await t.throwsAsync(openLedger({ dir, origin: ORIGIN }))), 'SLU_LEDGER_CORRUPT')
})

test('ledger: a checkpoint of another history, another key or another origin is held (E18)', async (t) => {
  const dir = await filled(2)
  const other = await filled(2)
  const own = readFileSync(join(dir, 'checkpoint'))
  writeFileSync(join(dir, 'checkpoint'), readFileSync(join(other, 'checkpoint')))
  t.is(code(await t.throwsAsync(openLedger({ dir, origin: ORIGIN }))), 'SLU_LEDGER_CORRUPT')
  writeFileSync(join(dir, 'checkpoint'), own)
  t.is(code(await t.throwsAsync(openLedger({ dir, origin: `${ORIGIN}2` }))), 'SLU_LEDGER_CORRUPT')
  rmSync(join(dir, 'key'))
  t.is(code(await t.throwsAsync(openLedger({ dir, origin: ORIGIN }))), 'SLU_LEDGER_CORRUPT', 'a lost key is never replaced in silence')
})

test('ledger: a write cut short by a full disk at any byte is never acknowledged, and a new start goes on without it', async (t) => {
  for (const cut of [0, 1, 8, 9, 100, 600]) {
    const dir = await filled(1)
    const disk: Disk = {
      ...nodeDisk,
      openAppend: async (path, bytes) => {
        const file = await nodeDisk.openAppend(path, bytes)
        const append = async (more: Buffer): Promise<void> => {
          await file.append(more.subarray(0, cut))
          throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
        }
        return { bytes: file.bytes, append, close: () => file.close() }
      },
    }
    const ledger = await openLedger({ dir, origin: ORIGIN, disk })
    t.is(code(await t.throwsAsync(ledger.append([denied(1)]))), 'SLU_LEDGER_UNWRITABLE')
    t.is(ledger.decisionFor(denied(1)), null, 'what is not durable is not decided')
    await ledger.close()
    const again = await openLedger({ dir, origin: ORIGIN })
    t.is(again.size, 1)
    t.deepEqual(await again.append([denied(1)]), [{ index: 1 }])
    t.true((await again.verify()).verified)
    await again.close()
  }
})

test('ledger: when the checkpoint cannot be published nothing is acknowledged; the next start finds the leaves whole', async (t) => {
  const dir = await filled(1)
  const disk: Disk = { ...nodeDisk, replace: (path, bytes, mode) => (path.endsWith('checkpoint') ? Promise.reject(new Error('EIO')) : nodeDisk.replace(path, bytes, mode)) }
  const ledger = await openLedger({ dir, origin: ORIGIN, disk })
  await t.throwsAsync(ledger.append([denied(1)]))
  await ledger.close()
  t.true((await verifyLedger(dir)).verified, 'what stands behind the published checkpoint does not unmake it')
  const again = await openLedger({ dir, origin: ORIGIN })
  t.is(again.size, 2)
  t.like(await again.verify(), { verified: true, size: 2 })
  await again.close()
})

test('ledger: appends that wait together share one flush, each with its own index', async (t) => {
  let flushes = 0
  const disk: Disk = {
    ...nodeDisk,
    openAppend: async (path, bytes) => {
      const file = await nodeDisk.openAppend(path, bytes)
      return { bytes: file.bytes, append: (more) => (flushes++, file.append(more)), close: () => file.close() }
    },
  }
  const ledger = await openLedger({ dir: temporaryFolder(), origin: ORIGIN, disk })
  const done = await Promise.all(Array.from({ length: 50 }, (_, i) => ledger.append([denied(i)])))
  t.deepEqual(
    done.map(([one]) => one?.index),
    Array.from({ length: 50 }, (_, i) => i),
  )
  t.true(flushes <= 2, `${flushes} flushes`)
  t.true((await ledger.verify()).verified)
  await ledger.close()
})

test('ledger: a leaf that has no canonical form is refused alone, and the ledger goes on', async (t) => {
  const ledger = await openLedger({ dir: temporaryFolder(), origin: ORIGIN })
  t.is(code(await t.throwsAsync(ledger.append([{ ...denied(1), version: 1.5 }]))), 'SLU_EGRESS_HOLD')
  t.is(code(await t.throwsAsync(ledger.append([{ ...denied(1), reasons: ['x'.repeat(70_000)] }]))), 'SLU_EGRESS_HOLD')
  t.deepEqual(await ledger.append([denied(1)]), [{ index: 0 }])
  await ledger.close()
  t.is(code(await t.throwsAsync(ledger.append([denied(2)]))), 'SLU_LEDGER_UNWRITABLE')
})
