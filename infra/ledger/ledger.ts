/**
 * The egress ledger: an append-only Merkle log on disk (egress.md §6).
 *
 * Owns: opening, group commit, the files. Folder: `wal` (authority), `checkpoint` (published), `vkey`, `key` (mode 0600, unless the
 * key is given), `objects/<sha256>` (the bytes sent), `lock`.
 * Append: claim what is decided → objects durable → leaves numbered → all waiting batches in one write and one flush, closed by a signed
 * checkpoint → `checkpoint` published → acknowledged. So an intent is durable and published before its caller can send a byte.
 * Open: lock → scan → hold if the published checkpoint is longer or another → cut the unacknowledged tail → fold the leaves.
 * Invariants: a failed write or flush is fatal, nothing is tried again on that file (E18); the acknowledged region is never cut (E29); one
 * final decision per cell (E08, E30); one outcome per intent (E13).
 */
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { SluiceError } from '../../schemas/errors.ts'
import type { CellDecision, CellIdentity, IntentState, LeafDraft } from '../../schemas/ledger.ts'
import type { LedgerPort } from '../../schemas/ports.ts'
import { createSeed, createSigner, createVerifier, type Signer } from './checkpoint.ts'
import { lockFolder, makeFolder, nodeDisk, type AppendFile, type Disk } from './disk.ts'
import { decodeLeaf, encodeLeaf } from './leaf.ts'
import { LeafIndex } from './leaf-index.ts'
import { MerkleTree } from './merkle.ts'
import { verifyLedger, type LedgerVerdict } from './verify.ts'
import { encodeBatch, scan } from './wal.ts'

export interface LedgerOptions {
  readonly dir: string
  /** `<org-domain>/<site>/egress/<ledger-id>` */
  readonly origin: string
  /** 32 bytes in base64; absent = `<dir>/key`, made at the first start. */
  readonly seed?: string
  /** Absent = the machine's. */
  readonly disk?: Disk
}

export interface Ledger extends LedgerPort {
  /** Base64, of the acknowledged leaves. */
  readonly root: string
  readonly vkey: string
  /** Verified from the files, not from memory. */
  verify(): Promise<LedgerVerdict>
  close(): Promise<void>
}

interface Waiting {
  readonly leaves: readonly LeafDraft[]
  readonly names: readonly string[]
  resolve(indices: readonly { readonly index: number }[]): void
  reject(error: SluiceError): void
}

/** Rejects with SLU_LEDGER_UNWRITABLE (lock, disk) or SLU_LEDGER_CORRUPT (damage in what was acknowledged; nothing is changed). */
export async function openLedger(options: LedgerOptions): Promise<Ledger> {
  const { dir, origin } = options
  const disk = options.disk ?? nodeDisk
  try {
    makeFolder(dir)
    makeFolder(join(dir, 'objects'))
  } catch (cause) {
    throw new SluiceError('SLU_LEDGER_UNWRITABLE', dir, cause)
  }
  const unlock = lockFolder(dir)
  try {
    const walBytes = await disk.read(join(dir, 'wal'))
    const note = await disk.read(join(dir, 'checkpoint'))
    const signer = await openSigner(options, disk, walBytes !== null || note !== null)
    const verifier = createVerifier(signer.vkey)
    const published = note === null ? null : verifier.open(note.toString('utf8'))
    if (note !== null && published === null) throw new SluiceError('SLU_LEDGER_CORRUPT', `${dir}: the published checkpoint is not signed by the key of this ledger`)
    // The checkpoint is published before the first leaf is acknowledged: leaves without one mean that it was taken away (E18).
    if (note === null && walBytes !== null && walBytes.length > 0) throw new SluiceError('SLU_LEDGER_CORRUPT', `${dir}: the published checkpoint is missing`)
    const size = published?.size ?? 0
    const found = scan(walBytes ?? Buffer.alloc(0), verifier, [size])
    // A flipped bit in the acknowledged region looks like a torn tail: what was published decides, and nothing is cut (E29).
    if (found.damage !== null) throw new SluiceError('SLU_LEDGER_CORRUPT', `${dir}: leaf ${found.damage.leaf}: ${found.damage.reason}`)
    if (found.leaves.length < size) throw new SluiceError('SLU_LEDGER_CORRUPT', `${dir}: leaf ${found.leaves.length}: ${found.tail ?? 'shorter than the published checkpoint'}`)
    if (published !== null && !found.rootAt.get(size)?.equals(published.root)) throw new SluiceError('SLU_LEDGER_CORRUPT', `${dir}: the published checkpoint is of another history`)
    const tree = new MerkleTree()
    const index = new LeafIndex()
    found.leaves.forEach((bytes, seq) => {
      const leaf = decodeLeaf(bytes, origin, seq)
      tree.append(bytes)
      if (leaf === null) return
      const wrong = typeof leaf === 'string' ? leaf : index.apply(leaf, seq)
      if (wrong !== null) throw new SluiceError('SLU_LEDGER_CORRUPT', `${dir}: leaf ${seq}: ${wrong}`)
      index.reserve(leaf as LeafDraft)
    })
    const wal = await disk.openAppend(join(dir, 'wal'), found.bytes)
    if (found.note === '' || found.note !== note?.toString('utf8'))
      await disk.replace(join(dir, 'checkpoint'), found.note === '' ? signer.sign({ size: 0, root: tree.root() }) : found.note)
    return new DiskLedger(dir, origin, disk, signer, wal, tree, index, unlock)
  } catch (error) {
    unlock()
    throw error instanceof SluiceError ? error : new SluiceError('SLU_LEDGER_UNWRITABLE', dir, error)
  }
}

async function openSigner({ dir, origin, seed }: LedgerOptions, disk: Disk, isUsed: boolean): Promise<Signer> {
  const path = join(dir, 'key')
  let own = seed ?? (await disk.read(path))?.toString('utf8')
  if (own === undefined) {
    if (isUsed) throw new SluiceError('SLU_LEDGER_CORRUPT', `${path} is missing: its checkpoints could not be continued`)
    own = createSeed()
    await disk.replace(path, `${own}\n`, 0o600)
  }
  const signer = createSigner(origin, own)
  const vkey = (await disk.read(join(dir, 'vkey')))?.toString('utf8').trim()
  if (vkey !== undefined && vkey !== signer.vkey) throw new SluiceError('SLU_LEDGER_CORRUPT', `${join(dir, 'vkey')} belongs to another key or origin`)
  if (vkey === undefined) await disk.replace(join(dir, 'vkey'), `${signer.vkey}\n`)
  return signer
}

class DiskLedger implements Ledger {
  readonly #dir: string
  readonly #origin: string
  readonly #disk: Disk
  readonly #signer: Signer
  readonly #wal: AppendFile
  readonly #tree: MerkleTree
  readonly #index: LeafIndex
  readonly #unlock: () => void
  #waiting: Waiting[] = []
  #writing: Promise<void> | null = null
  #acknowledged: { size: number; root: string }
  #failure: SluiceError | null = null
  #isClosed = false

  constructor(dir: string, origin: string, disk: Disk, signer: Signer, wal: AppendFile, tree: MerkleTree, index: LeafIndex, unlock: () => void) {
    this.#dir = dir
    this.#origin = origin
    this.#disk = disk
    this.#signer = signer
    this.#wal = wal
    this.#tree = tree
    this.#index = index
    this.#unlock = unlock
    this.#acknowledged = { size: tree.size, root: tree.root().toString('base64') }
  }

  get size(): number {
    return this.#acknowledged.size
  }

  get root(): string {
    return this.#acknowledged.root
  }

  get vkey(): string {
    return this.#signer.vkey
  }

  get highestMs(): number {
    return this.#index.highestMs
  }

  get policy(): LedgerPort['policy'] {
    return this.#index.policy
  }

  decisionFor(cell: CellIdentity): CellDecision | null {
    return this.#index.decisionFor(cell)
  }

  openIntents(): readonly IntentState[] {
    return this.#index.openIntents()
  }

  usage(atMs: number): { readonly bytesToday: number; readonly objectsThisHour: number } {
    return this.#index.usage(atMs)
  }

  verify(): Promise<LedgerVerdict> {
    return verifyLedger(this.#dir, this.#signer.vkey)
  }

  async object(sha256: string): Promise<Buffer> {
    const bytes = await this.#disk.read(this.#objectPath(sha256)).catch(() => null)
    if (bytes === null || hashOf(bytes) !== sha256) throw new SluiceError('SLU_LEDGER_CORRUPT', `objects/${sha256} is missing or changed`)
    return bytes
  }

  async append(leaves: readonly LeafDraft[], objects: readonly Buffer[] = []): Promise<readonly { readonly index: number }[]> {
    if (this.#failure !== null) throw this.#failure
    if (this.#isClosed) throw new SluiceError('SLU_LEDGER_UNWRITABLE', 'the ledger is closed')
    const claim = this.#index.claim(leaves)
    if ('taken' in claim) throw new SluiceError('SLU_EGRESS_HOLD', `${claim.taken} is decided already, or is being decided`)
    // What has no canonical form is refused before anything is written or reserved.
    try {
      for (const leaf of leaves) encodeLeaf(leaf, this.#origin, Number.MAX_SAFE_INTEGER, '0'.repeat(32))
    } catch (cause) {
      this.#index.release(claim.names)
      throw new SluiceError('SLU_EGRESS_HOLD', 'a leaf has no canonical form', cause)
    }
    for (const leaf of leaves) this.#index.reserve(leaf)
    try {
      for (const bytes of objects) await this.#keepObject(bytes)
    } catch (cause) {
      throw this.#fail(cause)
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ leaves, names: claim.names, resolve, reject })
      this.#writing ??= this.#writeAll()
    })
  }

  async #keepObject(bytes: Buffer): Promise<void> {
    const path = this.#objectPath(hashOf(bytes))
    const kept = await this.#disk.read(path)
    if (kept === null || !kept.equals(bytes)) await this.#disk.replace(path, bytes)
  }

  #objectPath(sha256: string): string {
    return join(this.#dir, 'objects', sha256)
  }

  /** Group commit: whatever waits when a write begins goes out in it. */
  async #writeAll(): Promise<void> {
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      try {
        if (this.#failure !== null) throw this.#failure
        await this.#write(batch)
      } catch (cause) {
        const failure = this.#fail(cause)
        for (const one of batch) one.reject(failure)
      }
    }
    this.#writing = null
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    const first = this.#tree.size
    const drafts = batch.flatMap((one) => one.leaves)
    const leaves = drafts.map((draft, i) => encodeLeaf(draft, this.#origin, first + i, randomBytes(16).toString('hex')))
    for (const leaf of leaves) this.#tree.append(leaf)
    const root = this.#tree.root()
    const note = this.#signer.sign({ size: this.#tree.size, root })
    await this.#wal.append(encodeBatch(leaves, note))
    await this.#disk.replace(join(this.#dir, 'checkpoint'), note)
    let at = first
    drafts.forEach((draft, i) => {
      const wrong = this.#index.apply(draft, first + i)
      if (wrong !== null) throw new SluiceError('SLU_INTERNAL', `leaf ${first + i}: ${wrong}`)
    })
    this.#acknowledged = { size: this.#tree.size, root: root.toString('base64') }
    for (const one of batch) {
      this.#index.release(one.names)
      one.resolve(one.leaves.map(() => ({ index: at++ })))
    }
  }

  /** After a failed write nobody knows what the disk holds: only a new start, which reads it, may go on. */
  #fail(cause: unknown): SluiceError {
    this.#failure ??= cause instanceof SluiceError ? cause : new SluiceError('SLU_LEDGER_UNWRITABLE', this.#dir, cause)
    return this.#failure
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#writing
    try {
      await this.#wal.close()
    } finally {
      this.#unlock()
    }
  }
}

function hashOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
