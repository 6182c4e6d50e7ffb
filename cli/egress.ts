/**
 * `sluice egress verify [dir] [--key vkey]`: a ledger, checked offline with nothing but its files and a public key (egress.md §6).
 *
 * Owns: what is printed, and the exit code: 0 verified, 3 (SLU_LEDGER_CORRUPT) with the first bad leaf. Without a folder it is the site's.
 */
import { resolve } from 'node:path'
import { verifyLedger, type LedgerVerdict } from '../infra/ledger/verify.ts'
import { errors } from '../schemas/errors.ts'
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
  output.line(`released ${counts.released}, withheld ${counts.withheld}, denied ${counts.denied}, open ${counts.open}`)
  if (key === null) output.line('note: checked with the verifier key that lies beside the ledger; give one you hold with --key')
  return 0
}
