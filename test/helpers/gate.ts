/** A gate over the shipped policy, a real ledger in a temporary folder and an object store in memory that answers as a test says. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { forwardSummaries } from '../../functions/forward-summaries/forward-summaries.ts'
import { readPolicyFolder } from '../../infra/egress/policy-folder.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import { openLedger, type Ledger } from '../../infra/ledger/ledger.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { metricByName } from '../../schemas/metrics.ts'
import type { PolicyBundle } from '../../schemas/policy.ts'
import type { LedgerPort, ObjectStore, PutOutcome } from '../../schemas/ports.ts'
import type { EgressReceipt, WindowSummary } from '../../schemas/records.ts'
import type { RecordEmit, TaskContext } from '../../streams/define-function.ts'
import { testCodecs } from './codecs.ts'

export const SITE = 'hall-1'
export const ORIGIN = 'sluice.invalid/hall-1/egress/1'
export const NOW_MS = 1_800_000_000_000

export const shippedPolicy = (): PolicyBundle => readPolicyFolder('policy')
const folders: string[] = []
process.once('exit', () => {
  for (const dir of folders) rmSync(dir, { recursive: true, force: true })
})

/** Removed when the test process ends. */
export function temporaryFolder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-egress-'))
  folders.push(dir)
  return dir
}

/** A summary of `tenants` contributors with the given sum each. */
export function summary(over: Partial<WindowSummary> = {}, sums: readonly number[] = Array.from({ length: 12 }, () => 100)): WindowSummary {
  const metric = metricByName.get(over.metric ?? 'hw.power')
  const windowStartMs = NOW_MS - 60_000
  const total = sums.reduce((a, b) => a + b, 0)
  return {
    site: SITE,
    pool: 'blackwell-a',
    metric: 'hw.power',
    unit: metric?.unit ?? 'W',
    attributes: {},
    contributorKind: metric?.contributor ?? 'tenant',
    windowStartMs,
    windowEndMs: windowStartMs + 5000,
    count: sums.length,
    sum: total,
    min: 7771,
    max: 7772,
    last: 7773,
    lastMs: windowStartMs + 4242,
    histogram: { scale: 0, zeroCount: 0, offset: 0, counts: [sums.length], negativeOffset: 0, negativeCounts: [] },
    contributorFacts: sums.map((sum, i) => ({ id: `tenant-canary-${i}`, sum, count: 1, bucketCounts: [1] })),
    contributorOverflow: false,
    contributors: 4711,
    devices: 4712,
    sources: [{ partition: 0, firstOffset: 0, lastOffset: 4713 }],
    partial: false,
    parametersHash: 'canary-parameters',
    id: 'canary-id',
    ...over,
  }
}

export class MemoryStore implements ObjectStore {
  readonly name: string
  readonly kind = 'carry'
  readonly objects = new Map<string, Buffer>()
  puts = 0
  /** What the next PUT answers instead; it stores first where `isStored`. */
  next: { readonly outcome: PutOutcome; readonly isStored: boolean } | null = null

  constructor(name = 'carry') {
    this.name = name
  }

  put: ObjectStore['put'] = async ({ key, bytes, sha256 }) => {
    this.puts++
    const scripted = this.next
    this.next = null
    if (scripted !== null && !scripted.isStored) return scripted.outcome
    const there = this.objects.get(key)
    if (there !== undefined) return there.equals(bytes) ? { kind: 'exists-same', etag: '', checksum: sha256.toString('hex') } : { kind: 'exists-other', reason: 'other bytes' }
    this.objects.set(key, Buffer.from(bytes))
    return scripted?.outcome ?? { kind: 'stored', etag: 'e', checksum: sha256.toString('hex') }
  }

  head: ObjectStore['head'] = async (key) => {
    const bytes = this.objects.get(key)
    return bytes === undefined ? { kind: 'absent' } : { kind: 'present', bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
  }

  close = async (): Promise<void> => {}
}

/** Held until the process ends: one that a test leaves open would be closed by the garbage collector, which ends the process. */
const opened: Ledger[] = []

export interface TestGate {
  readonly dir: string
  readonly ledger: Ledger
  readonly store: MemoryStore
  /** Runs one summary through; rejects as the function does. */
  send(value: WindowSummary): Promise<EgressReceipt[]>
}

export interface TestGateOptions {
  readonly dir?: string
  readonly store?: MemoryStore
  readonly policy?: PolicyBundle
  readonly nowMs?: number
  /** Puts something between gate and ledger. */
  readonly wrap?: (ledger: Ledger) => LedgerPort
}

export async function openGate({ dir = temporaryFolder(), store = new MemoryStore(), policy = shippedPolicy(), nowMs = NOW_MS, wrap }: TestGateOptions = {}): Promise<TestGate> {
  const codecs = testCodecs()
  const ledger = await openLedger({ dir, origin: ORIGIN })
  opened.push(ledger)
  const clock = { nowMs: () => nowMs, setTimer: () => () => {} }
  const gate = forwardSummaries({ site: SITE, policy, ports: { ledger: wrap?.(ledger) ?? ledger, destinations: [store], hashing: nodeHashing, clock } })
  let offset = 0n
  const send = async (value: WindowSummary): Promise<EgressReceipt[]> => {
    const record = { topic: 'metrics.windows', partition: 0, offset: offset++, key: null, value: Buffer.alloc(0), headers: {}, timestampMs: nowMs } as unknown as LogRecord
    const context = { codecs, site: SITE, signal: new AbortController().signal } as unknown as TaskContext
    const emits = (await gate.handle(value, record, context)) as RecordEmit[]
    return emits.map((e) => codecs.decode('EgressReceipt', e.value as Buffer))
  }
  return { dir, ledger, store, send }
}
