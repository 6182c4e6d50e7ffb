/**
 * What people and scripts see: errors on stderr in one shape, results on stdout, exit codes (design.md §4.4, operations.md §4).
 *
 * Owns: the rendering of errors (code, what, which, chain, fix, help command) and of `--json` documents. Only this file writes to stdout.
 * Nothing that a verb hands in reaches a terminal as a control sequence (printable.ts).
 */
import { writeSync } from 'node:fs'
import { styleText } from 'node:util'
import { asSluiceError, causeChain, errors, type SluiceError } from '../schemas/errors.ts'
import { SiteProblemsError } from './load-site.ts'
import { indented, onOneLine, printable, printableJson } from './printable.ts'

export interface Output {
  readonly isJson: boolean
  /** A line for people; silent under --json. */
  line(text: string): void
  /** The document of a command under --json, or one JSON line of a stream. */
  json(document: unknown): void
  /** Progress and notices: stderr. */
  note(text: string): void
  /** An error as a person reads it: stderr. */
  error(error: SluiceError): void
}

/** Writes all of `text` even to a pipe that is full (a plain write would lose the rest at exit). */
function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EPIPE') return
      if (code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    }
  }
}

/** JSON with bigint offsets as numbers where they are safe, else as text; what a terminal would obey is escaped. */
export function toJson(document: unknown): string {
  return printableJson(
    JSON.stringify(document, (_key, value: unknown) => {
      if (typeof value === 'bigint') return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value)
      return value
    }),
  )
}

export function createOutput(isJson: boolean): Output {
  return {
    isJson,
    line: (text) => {
      if (!isJson) writeAll(1, `${printable(text)}\n`)
    },
    json: (document) => {
      if (isJson) writeAll(1, `${toJson(document)}\n`)
    },
    note: (text) => writeAll(2, `${printable(text)}\n`),
    error: (error) => writeAll(2, `${renderError(error)}\n`),
  }
}

const paint = (format: Parameters<typeof styleText>[0], text: string): string => styleText(format, text, { stream: process.stderr })

/** Lines of an error for a terminal: what, which, chain, fix, help. */
export function renderError(error: SluiceError): string {
  const row = errors[error.code]
  const lines = [`${paint(['red', 'bold'], error.code)}  ${row.what}`]
  if (error.detail !== '') lines.push(indented(error.detail, '  '))
  if (error instanceof SiteProblemsError)
    for (const p of error.problems) lines.push(indented(`${error.file}${p.line === null ? '' : `:${p.line}`}  ${p.key === '' ? '' : `${p.key}: `}${p.message}`, '  '))
  for (const message of causeChain(error.cause)) lines.push(paint('dim', `  because ${onOneLine(message.split('\n')[0] as string)}`))
  lines.push(printable(`  fix: ${error.fix}      sluice help ${error.code}`))
  return lines.join('\n')
}

/** Writes the error and returns the exit code. */
export function reportError(thrown: unknown, output: Output): number {
  const error = asSluiceError(thrown, 'SLU_INTERNAL')
  const row = errors[error.code]
  if (output.isJson)
    output.json({
      error: {
        code: error.code,
        what: row.what,
        detail: error.detail,
        fix: error.fix,
        chain: causeChain(error.cause),
        ...(error instanceof SiteProblemsError ? { file: error.file, problems: error.problems } : {}),
      },
    })
  output.error(error)
  if (error.code === 'SLU_INTERNAL' && thrown instanceof Error) output.note(thrown.stack ?? '')
  // Where it came from is all there is to go by.
  if (error.code === 'SLU_HANDLER_UNCAUGHT' && error.cause instanceof Error) output.note(error.cause.stack ?? '')
  return row.exit
}
