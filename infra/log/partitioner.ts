/**
 * Partition of a key as Kafka's default partitioner computes it: murmur2, which the Java client and kafkajs compute alike.
 *
 * Why not kafkajs' own: it makes 64-bit objects for each step of every four bytes, which at a record of 1 KiB is a tenth of what it costs to send it. Held to
 * kafkajs' answers and to the known ones of Apache Kafka by its test.
 */

const SEED = 0x9747_b28c
const M = 0x5bd1_e995

function murmur2(key: Uint8Array): number {
  const { length } = key
  const whole = length & ~3
  let h = SEED ^ length
  for (let at = 0; at < whole; at += 4) {
    let k = (key[at] as number) | ((key[at + 1] as number) << 8) | ((key[at + 2] as number) << 16) | ((key[at + 3] as number) << 24)
    k = Math.imul(k, M)
    k ^= k >>> 24
    h = Math.imul(h, M) ^ Math.imul(k, M)
  }
  if (whole < length) {
    for (let at = length - 1; at >= whole; at--) h ^= (key[at] as number) << (8 * (at - whole))
    h = Math.imul(h, M)
  }
  h ^= h >>> 13
  h = Math.imul(h, M)
  return h ^ (h >>> 15)
}

/** `toPositive(murmur2(key)) % partitions`, as the Java client does for a key that is not null. */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fff_ffff) % partitions
}
