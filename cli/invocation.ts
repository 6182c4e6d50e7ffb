/** What every verb is given, and how it ends. */
import type { Output } from './output.ts'

export interface Invocation {
  readonly siteFile: string
  readonly output: Output
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** Resolves with the exit code; what it throws is reported with the exit code of its error. */
export type Verb = (invocation: Invocation, args: string[], options: Record<string, unknown>) => Promise<number>
