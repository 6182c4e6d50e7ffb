/**
 * Equivalence contracts (R2): which models may answer a request.
 *
 * Owns: what a contract declares, and whether it covers a request's context length. Bodies are not tokenised here, so the length is bounded from
 * above: a token stands for at least one byte of text, JSON's escapes only lengthen text, and what a chat template adds by itself has an allowance;
 * the output asked for comes on top. A text of four bytes a token therefore uses up a contract four times as fast as it had to: a request goes
 * to a substitute too rarely, never wrongly. Where bytes bound nothing (a short reference to an image is a thousand tokens) nothing is covered.
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { InferenceRequest } from '../../schemas/records.ts'
import { topLevelRanges } from './body-fields.ts'

export interface Contract {
  readonly name: string
  readonly model: string
  /** Declared equivalent, in order of preference. */
  readonly substitutes: readonly string[]
  /** The substitutes are equivalent up to this many tokens, output included; none = at any length. */
  readonly maxContextTokens?: number | undefined
}

export interface AllowedModels {
  /** The model asked for, then the substitutes that may answer. */
  readonly models: readonly string[]
  /** Substitutes the contract names but does not cover this request with: its context may be too long. */
  readonly barred: readonly string[]
}

const OUTPUT_NAMES: ReadonlySet<string> = new Set(['max_tokens', 'max_completion_tokens'])
/** Role markers, begin of text, a default system line. */
const TEMPLATE_TOKENS = 256
/** A body that holds one of these strings has parts whose tokens its bytes do not bound. */
const NOT_TEXT = /"(?:chat_template|(?:input_)?(?:image|audio|video|file)(?:_[a-z]+)?)"/

/** Tokens the request may come to at most, prompt and output; null = its bytes do not bound them. */
export function contextTokensBound(body: Buffer): number | null {
  if (NOT_TEXT.test(body.toString('latin1'))) return null
  const top = topLevelRanges(body, OUTPUT_NAMES)
  if (top.kind === 'repeated') return null
  const ranges = top.kind === 'object' ? [...top.ranges.values()] : []
  const asked = ranges.map((range) => Number(body.toString('latin1', range.start, range.end))).filter((n) => n > 0)
  return body.length + TEMPLATE_TOKENS + Math.max(0, ...asked)
}

/** R2. Throws SLU_ROUTE_CONTRACT_UNKNOWN. */
export function allowedModels(request: InferenceRequest, contracts: ReadonlyMap<string, Contract>): AllowedModels {
  if (request.contract === null) return { models: [request.model], barred: [] }
  const contract = contracts.get(request.contract)
  if (contract?.model !== request.model) throw new SluiceError('SLU_ROUTE_CONTRACT_UNKNOWN', request.contract.slice(0, 100))
  const { maxContextTokens, substitutes } = contract
  const isCovered = maxContextTokens === undefined || (contextTokensBound(request.body) ?? Infinity) <= maxContextTokens
  return isCovered ? { models: [request.model, ...substitutes], barred: [] } : { models: [request.model], barred: substitutes }
}
