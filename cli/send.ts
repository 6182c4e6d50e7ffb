/** `sluice send <topic>`: append what stands on standard input or in a file, byte for byte. */
import { readFile } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { SluiceError } from '../schemas/errors.ts'
import type { LogHeaders, OutRecord } from '../schemas/log.ts'
import { loadSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { openLog } from './open-log.ts'

/** Requests are keyed by their id (R1): taken from JSON where no key was given. */
function keyOf(topic: string, value: Buffer, given: string | undefined): Buffer | null {
  if (given !== undefined) return Buffer.from(given)
  if (!topic.endsWith('inference.requests') || value[0] !== 0x7b) return null
  try {
    const id = (JSON.parse(value.toString('utf8')) as { id?: unknown }).id
    return typeof id === 'string' ? Buffer.from(id) : null
  } catch {
    return null
  }
}

function headersOf(given: unknown): LogHeaders {
  return (Array.isArray(given) ? (given as string[]) : []).map((text) => {
    const at = text.indexOf('=')
    if (at < 1) throw new SluiceError('SLU_USE', `--header ${text}: must be name=value`)
    return [text.slice(0, at), Buffer.from(text.slice(at + 1))] as const
  })
}

/** A file, or all of standard input. Not read synchronously: a pipe that is not full yet would be an error there. */
async function input(file: unknown): Promise<Buffer> {
  try {
    return typeof file === 'string' ? await readFile(file) : await buffer(process.stdin)
  } catch (cause) {
    throw new SluiceError('SLU_USE', typeof file === 'string' ? `--file ${file} cannot be read` : 'nothing on standard input; give --file <file>', cause)
  }
}

/** The values of the records. An empty input is more often a command that failed before us than a record of no bytes. */
export function valuesOf(bytes: Buffer, isByLine: boolean): { values: Buffer[]; skipped: number } {
  if (!isByLine) return { values: bytes.length === 0 ? [] : [bytes], skipped: 0 }
  const lines = bytes.toString('utf8').split('\n')
  // What ends with a line break ends there.
  if (lines.at(-1) === '') lines.pop()
  const values = lines.filter((line) => line !== '').map((line) => Buffer.from(line))
  return { values, skipped: lines.length - values.length }
}

export async function send({ siteFile, output, environment }: Invocation, args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile)
  const topic = loaded.site.topicPrefix + (args[0] as string)
  const headers = headersOf(options['header'])
  const given = options['key'] as string | undefined
  const bytes = await input(options['file'])
  const { values, skipped } = valuesOf(bytes, options['lines'] === true)
  if (skipped > 0) output.note(`${skipped} empty ${skipped === 1 ? 'line' : 'lines'} skipped`)
  if (values.length === 0) output.note('nothing to send: the input is empty')
  const log = await openLog(loaded, environment)
  try {
    const records = values.map((value): OutRecord => ({ topic, key: keyOf(topic, value, given), value, headers }))
    const appended = records.length === 0 ? [] : await log.producer().send(records)
    output.json({ topic, appended: appended.map((a) => ({ partition: a.partition, offset: a.offset })) })
    for (const a of appended.slice(0, 20)) output.line(`${a.topic}/${a.partition}/${a.offset}`)
    if (appended.length > 20) output.line(`… ${appended.length} records in all`)
    return 0
  } finally {
    await log.close()
  }
}
