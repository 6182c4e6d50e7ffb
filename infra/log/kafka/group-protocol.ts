/**
 * What each error of the group protocol means for a member: the decision table of `member.ts`, apart so that every code has its test.
 *
 * Owns: one decision per error name of join, sync, heartbeat and commit. Stays pure.
 */

/**
 * `rejoin`: revoke in order, join again as the same member. `lost`: we were thrown out: drop, no commit (C4); `forget` = with a new member id.
 * `coordinator`: find the coordinator again and go on as owner (a killed broker must not cost a rebalance). `fatal`: our configuration or rights.
 * `again`: a passing state of the transport: back off and try the same again.
 */
export type GroupDecision = 'rejoin' | 'lost' | 'forget' | 'coordinator' | 'fatal' | 'again'

const DECISIONS: ReadonlyMap<string, GroupDecision> = new Map<string, GroupDecision>([
  ['REBALANCE_IN_PROGRESS', 'rejoin'],
  ['ILLEGAL_GENERATION', 'lost'],
  ['UNKNOWN_MEMBER_ID', 'forget'],
  ['FENCED_INSTANCE_ID', 'forget'],
  ['NOT_COORDINATOR_FOR_GROUP', 'coordinator'],
  ['GROUP_COORDINATOR_NOT_AVAILABLE', 'coordinator'],
  ['GROUP_LOAD_IN_PROGRESS', 'coordinator'],
  ['GROUP_AUTHORIZATION_FAILED', 'fatal'],
  ['TOPIC_AUTHORIZATION_FAILED', 'fatal'],
  ['INCONSISTENT_GROUP_PROTOCOL', 'fatal'],
  ['INVALID_GROUP_ID', 'fatal'],
  ['INVALID_SESSION_TIMEOUT', 'fatal'],
  ['GROUP_MAX_SIZE_REACHED', 'fatal'],
  ['SASL_AUTHENTICATION_FAILED', 'fatal'],
  ['UNSUPPORTED_SASL_MECHANISM', 'fatal'],
])

/** `type` = the protocol's error name; null = a transport error, after which the coordinator may be another broker. */
export function decide(type: string | null): GroupDecision {
  return type === null ? 'coordinator' : (DECISIONS.get(type) ?? 'again')
}
