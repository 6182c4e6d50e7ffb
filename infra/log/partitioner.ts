/** Partition of a key as Kafka's default partitioner computes it, through kafkajs' own murmur2 (no second implementation of a hash that must agree). */
import { createRequire } from 'node:module'

const murmur2 = createRequire(import.meta.url)('kafkajs/src/producer/partitioners/default/murmur2') as (key: Buffer) => number

/** `toPositive(murmur2(key)) % partitions`, as the Java client does for a key that is not null. */
export function partitionOf(key: Buffer, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}
