/**
 * The `kafka` driver of the log seam, on kafkajs in two layers (docs/adr/0001).
 *
 * Owns: the connection settings and what it handed out, so that `close` closes all of it. Consuming: `member.ts` on the protocol layer. Producing,
 * transactions, admin: the public API.
 */
import type { LogDriver } from '../../../schemas/log.ts'
import { createAdmin } from './admin.ts'
import { openFencedProducer } from './fenced-producer.ts'
import { createCluster, type Connection } from './kafkajs.ts'
import { GroupMember } from './member.ts'
import { KafkaProducer } from './producer.ts'
import { createReader } from './reader.ts'

export interface KafkaOptions {
  readonly brokers: readonly string[]
  readonly clientId?: string
  /** PEM texts; `true` = TLS with the authorities of the platform. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string } | true
  readonly sasl?: { readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; readonly username: string; readonly password: string }
  /** Session of group members; default 10 s. */
  readonly sessionMs?: number
}

const SESSION_MS = 10_000
const BYTES_IN_FLIGHT_MAX = 8 << 20

function connectionOf(options: KafkaOptions): Connection {
  const { tls } = options
  const ssl =
    tls === undefined
      ? undefined
      : tls === true
        ? true
        : { ...(tls.ca === undefined ? {} : { ca: [tls.ca] }), ...(tls.cert === undefined ? {} : { cert: tls.cert }), ...(tls.key === undefined ? {} : { key: tls.key }) }
  return {
    brokers: options.brokers,
    clientId: options.clientId ?? 'sluice',
    ...(ssl === undefined ? {} : { ssl }),
    ...(options.sasl === undefined ? {} : { sasl: options.sasl as NonNullable<Connection['sasl']> }),
  }
}

/** Connects on first use: errors come from the call that needs the broker. */
export function createKafkaDriver(options: KafkaOptions): LogDriver {
  const connection = connectionOf(options)
  const open = new Set<{ close(): Promise<void> }>()
  const track = <T>(make: (onClose: () => void) => T, close: (made: T) => Promise<void>): T => {
    const entry = { close: () => close(made) }
    const made: T = make(() => open.delete(entry))
    open.add(entry)
    return made
  }
  return {
    name: 'kafka',
    capabilities: { transactions: true, commitMetadata: true, perPartitionPause: 'native', codecs: ['gzip', 'zstd', 'lz4', 'snappy'] },
    consumer: ({ group, topics, bytesInFlightMax, recordsInFlightMax, sessionMs }) =>
      track(
        (onClose) =>
          new GroupMember({
            createCluster: () => createCluster(connection, 1),
            bootstrap: options.brokers,
            group,
            topics,
            sessionMs: sessionMs ?? options.sessionMs ?? SESSION_MS,
            bytesInFlightMax: bytesInFlightMax ?? BYTES_IN_FLIGHT_MAX,
            recordsInFlightMax: recordsInFlightMax ?? Infinity,
            onClose,
          }),
        (member) => member.stop(),
      ),
    producer: () =>
      track(
        (onClose) => new KafkaProducer(connection, onClose),
        (producer) => producer.close(),
      ),
    fencedProducer: async (name) => {
      let forget = (): void => {}
      const producer = await openFencedProducer(connection, name, () => forget())
      const entry = { close: () => producer.close() }
      forget = () => open.delete(entry)
      open.add(entry)
      return producer
    },
    reader: () =>
      track(
        (onClose) => createReader({ createCluster: (isolation) => createCluster(connection, isolation), bootstrap: options.brokers, onClose }),
        (reader) => reader.close(),
      ),
    admin: () =>
      track(
        (onClose) => createAdmin(connection, onClose),
        (admin) => admin.close(),
      ),
    close: async () => {
      await Promise.allSettled([...open].map((one) => one.close()))
    },
  }
}
