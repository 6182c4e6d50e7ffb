/**
 * `sluice egress verify [dir] [--key vkey]`: a ledger, checked offline with nothing but its files and a public key (egress.md §6).
 *
 * Owns: what is printed, and the exit code: 0 verified, 3 (SLU_LEDGER_CORRUPT) with the first bad leaf. Without a folder it is the site's.
 */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { verifyLedger, type LedgerVerdict } from '../infra/ledger/verify.ts'
import { errors, SluiceError } from '../schemas/errors.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'

function ledgerOf(siteFile: string): string {
  const loaded = loadSite(siteFile)
  return loaded.pathOf(loaded.site.egress.ledger)
}

function problemText({ problem }: LedgerVerdict): string {
  if (problem === null) return ''
  return problem.leaf === null ? problem.reason : `leaf ${problem.leaf}: ${problem.reason}`
}

export async function egressVerify({ siteFile, output }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  const [given] = args
  const dir = given === undefined ? ledgerOf(siteFile) : resolve(given)
  // A folder that is not there is a slip of the hand; one without its ledger is not.
  if (!existsSync(dir)) throw new SluiceError('SLU_USE', `${dir} does not exist${given === undefined ? ': nothing has left this site yet' : ''}`)
  const key = typeof options['key'] === 'string' ? options['key'] : null
  const verdict = await verifyLedger(dir, key)
  output.json({ dir, ...verdict, code: verdict.verified ? null : 'SLU_LEDGER_CORRUPT' })
  if (!verdict.verified) {
    output.note(`SLU_LEDGER_CORRUPT: ${errors.SLU_LEDGER_CORRUPT.what}: ${dir}: ${problemText(verdict)}`)
    output.note(`fix: ${errors.SLU_LEDGER_CORRUPT.fix}`)
    return errors.SLU_LEDGER_CORRUPT.exit
  }
  const { size, root, origin, counts } = verdict
  output.line(`verified: ${size} leaves of ${origin}`)
  output.line(`root ${root}`)
  output.line(
    `decisions: ${counts.released} released, ${counts.withheld} withheld, ${counts.denied} denied (all unlisted cells of a metric and window share one); ${counts.open} open`,
  )
  if (key === null) output.line('note: checked with the verifier key that lies beside the ledger; give one you hold with --key')
  return 0
}
