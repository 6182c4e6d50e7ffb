/** `sluice help [code]`: the page of an error code, made from the error table; without a code, the table itself. */
import { errors, isErrorCode, SluiceError, type Disposition, type ErrorCode } from '../schemas/errors.ts'
import { distance } from 'fastest-levenshtein'
import type { Invocation } from './invocation.ts'

const DISPOSITIONS: Record<Disposition, string> = {
  retry: 'tried again by itself, in order per key',
  reject: 'the sender is answered; nothing is tried again',
  'dead-letter': 'the record is parked on <topic>.dlq, byte for byte, and the stream goes on',
  hold: 'this partition or egress stands still and alarms; nothing is dropped; it goes on when the cause is gone',
  fatal: 'the process stops; nothing is lost',
}

/** The page of one code, as lines. */
export function helpPage(code: ErrorCode): string[] {
  const row = errors[code]
  const http = (row as { http?: number }).http
  return [
    code,
    `  what        ${row.what}`,
    `  why         ${row.why}`,
    `  fix         ${row.fix}`,
    `  then        ${DISPOSITIONS[row.disposition]} (${row.disposition})`,
    `  exit code   ${row.exit}${http === undefined ? '' : `, status ${http} where a client sees it`}`,
  ]
}

export async function help({ output }: Invocation, args: string[]): Promise<number> {
  const asked = args[0]
  if (asked === undefined) {
    output.json(Object.entries(errors).map(([code, row]) => ({ code, ...row })))
    output.line('sluice <verb> --help explains a verb; sluice help <code> explains an error code.\n')
    for (const [code, row] of Object.entries(errors)) output.line(`  ${code.padEnd(32)} ${row.what}`)
    return 0
  }
  const code = asked.toUpperCase()
  if (!isErrorCode(code)) {
    const near = Object.keys(errors).sort((a, b) => distance(a, code) - distance(b, code))[0]
    throw new SluiceError('SLU_USE', `no error code ${asked}; nearest: ${near}`)
  }
  output.json({ code, ...errors[code] })
  for (const line of helpPage(code)) output.line(line)
  return 0
}
