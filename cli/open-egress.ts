/**
 * Opens what the gate needs: bundle, ledger, destinations; and settles what an earlier process left open.
 *
 * Owns: the order. Bundle read and verified once → held against the site → ledger opened → bundle against the versions the ledger has seen (E11)
 * → its leaf → open intents reconciled, before anything else may leave (E13, E31). Either all of it opens or what did is closed again.
 * A destination that cannot be asked now does not stop the start: its intents stay open and the gate comes back to them, held and visible.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { settleFor } from '../functions/forward-summaries/forward-summaries.ts'
import { systemClock } from '../infra/clock.ts'
import { createCarryStore } from '../infra/egress/carry-store.ts'
import { readPolicyFolder } from '../infra/egress/policy-folder.ts'
import { nodeHashing } from '../infra/hashing.ts'
import { openLedger, type Ledger } from '../infra/ledger/ledger.ts'
import { verifyLedger } from '../infra/ledger/verify.ts'
import { SluiceError } from '../schemas/errors.ts'
import { NO_ROOT } from '../schemas/ledger.ts'
import type { PolicyBundle } from '../schemas/policy.ts'
import type { ObjectStore } from '../schemas/ports.ts'
import type { LoadedSite } from './load-site.ts'
import { secret, type Environment } from './open-log.ts'

export interface OpenEgress {
  readonly policy: PolicyBundle
  readonly ledger: Ledger
  readonly destinations: readonly ObjectStore[]
  /** From the files, not from memory. */
  verify(): Promise<{ readonly size: number; readonly root: string; readonly verified: boolean }>
  close(): Promise<void>
}

const RECONCILE_MS = 30_000

/** The bundle of the site, if it is one this site may use. Throws SLU_EGRESS_POLICY. */
function siteBundle({ site, pathOf }: LoadedSite): PolicyBundle {
  const policy = readPolicyFolder(pathOf(site.egress.policy))
  const refuse = (why: string): never => {
    throw new SluiceError('SLU_EGRESS_POLICY', `${pathOf(site.egress.policy)}: ${why}`)
  }
  if (policy.site !== site.site) refuse(`it is for site ${policy.site}, this is ${site.site}`)
  for (const given of site.egress.destinations) {
    const known = policy.destinations.get(given.name)
    if (known === undefined || known.kind !== given.kind) refuse(`destination ${given.name} (${given.kind}) is not in the bundle`)
    if (known?.kind === 's3' && given.kind === 's3')
      for (const key of ['bucket', 'region', 'endpoint', 'expectedOwner'] as const)
        if (known[key] !== given[key]) refuse(`destination ${given.name}: ${key} is not that of the bundle (E22)`)
  }
  return policy
}

async function openDestinations({ site, pathOf }: LoadedSite, environment: Environment): Promise<ObjectStore[]> {
  const stores: ObjectStore[] = []
  for (const d of site.egress.destinations) {
    if (d.kind === 'carry') {
      stores.push(createCarryStore(d.name, pathOf(d.dir)))
      continue
    }
    // The SDK is loaded only where it is used.
    const { createS3Store } = await import('../infra/aws/s3-store.ts')
    const { name, bucket, region, endpoint, expectedOwner } = d
    const accessKeyId = secret(environment, d.accessKeyEnv)
    const secretAccessKey = secret(environment, d.secretKeyEnv)
    const session = d.sessionTokenEnv === undefined ? {} : { sessionToken: secret(environment, d.sessionTokenEnv) }
    const credentials = (): { accessKeyId: string; secretAccessKey: string; sessionToken?: string } => ({ accessKeyId, secretAccessKey, ...session })
    stores.push(createS3Store({ name, bucket, region, endpoint, expectedOwner, credentials }))
  }
  return stores
}

/** The bundle in force stands in the ledger; an older one, or another one of the same version, is refused (E11). */
async function recordPolicy(ledger: Ledger, policy: PolicyBundle): Promise<void> {
  const { manifest, hash, signature } = policy
  const seen = ledger.policy
  if (seen !== null && manifest.version < seen.versionMax) throw new SluiceError('SLU_EGRESS_POLICY', `version ${manifest.version}: the ledger has seen version ${seen.versionMax}`)
  if (seen?.bundle === hash) return
  if (seen?.versionMax === manifest.version)
    throw new SluiceError('SLU_EGRESS_POLICY', `version ${manifest.version} stands in the ledger with other content: a changed bundle needs a new version`)
  await ledger.append([{ type: 'policy', bundle: hash, bundle_id: manifest.bundleId, version: manifest.version, signature, root: NO_ROOT, at: systemClock.nowMs() }])
}

/** Holds stay with their intents; a conflict or a damaged ledger stops the start. */
async function reconcile(site: string, policy: PolicyBundle, ledger: Ledger, destinations: readonly ObjectStore[]): Promise<void> {
  const settle = settleFor({ site, policy, ports: { ledger, destinations, hashing: nodeHashing, clock: systemClock } })
  const signal = AbortSignal.timeout(RECONCILE_MS)
  for (const intent of ledger.openIntents())
    try {
      await settle(intent, 'found-open', signal)
    } catch (error) {
      if (!(error instanceof SluiceError) || error.code !== 'SLU_EGRESS_HOLD') throw error
    }
}

/** Rejects with SLU_EGRESS_POLICY, SLU_LEDGER_*, SLU_ENV_SECRET or SLU_EGRESS_CONFLICT; nothing is left open then. */
export async function openEgress(loaded: LoadedSite, environment: Environment): Promise<OpenEgress> {
  const { site, pathOf } = loaded
  const policy = siteBundle(loaded)
  const destinations = await openDestinations(loaded, environment)
  const ledger = await openLedger({ dir: pathOf(site.egress.ledger), origin: site.egress.origin ?? `sluice.invalid/${site.site}/egress/1` })
  const close = async (): Promise<void> => {
    await Promise.all(destinations.map((d) => d.close()))
    await ledger.close()
  }
  try {
    await recordPolicy(ledger, policy)
    await reconcile(site.site, policy, ledger, destinations)
  } catch (error) {
    await close()
    throw error
  }
  return {
    policy,
    ledger,
    destinations,
    verify: async () => {
      const { size, root, verified } = await ledger.verify()
      return { size, root, verified }
    },
    close,
  }
}

/** One line about the bundle. Throws SLU_EGRESS_POLICY. */
export function readPolicy(loaded: LoadedSite): string {
  const { manifest, signature, permits } = siteBundle(loaded)
  const nowMs = systemClock.nowMs()
  if (nowMs >= manifest.expires || nowMs < manifest.notBefore) throw new SluiceError('SLU_EGRESS_POLICY', `${manifest.bundleId} v${manifest.version} is not valid at this time`)
  return `${manifest.bundleId} v${manifest.version} (${signature}), ${permits.size} metrics permitted, until ${new Date(manifest.expires).toISOString().slice(0, 10)}`
}

/** One line about the ledger. Rejects with SLU_LEDGER_CORRUPT. */
export async function verifyLedgerFolder(loaded: LoadedSite): Promise<string> {
  const dir = loaded.pathOf(loaded.site.egress.ledger)
  if (!existsSync(join(dir, 'wal')) && !existsSync(join(dir, 'checkpoint'))) return 'no ledger yet'
  const verdict = await verifyLedger(dir)
  if (!verdict.verified)
    throw new SluiceError('SLU_LEDGER_CORRUPT', `${dir}: ${verdict.problem?.leaf === null ? '' : `leaf ${verdict.problem?.leaf}: `}${verdict.problem?.reason ?? ''}`)
  return `${verdict.size} leaves, verified`
}
