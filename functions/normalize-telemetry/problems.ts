/**
 * What could not be read of a record, for its dead letter (N2).
 *
 * Owns: the bound (a hostile record must not make a long reason) and the wording: place and reason, never text of the record.
 */

/** Problems named in a dead letter; the rest is counted. */
export const PROBLEMS_NAMED_MAX = 8

export interface Problems {
  readonly noted: string[]
  more: number
}

export function noteProblem(problems: Problems, place: string, reason: string): void {
  if (problems.noted.length < PROBLEMS_NAMED_MAX) problems.noted.push(`${place}: ${reason}`)
  else problems.more++
}

/** "line 3: no value; line 9: labels do not end; 12 more"; empty if there is none. */
export function describeProblems(problems: Problems): string {
  return [...problems.noted, ...(problems.more === 0 ? [] : [`${problems.more} more`])].join('; ')
}
