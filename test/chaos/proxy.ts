/**
 * A TCP proxy in front of one broker, on loopback: the network that can be cut.
 *
 * Owns: its connections in pairs, that nobody listens while its broker is dead, and the two ways a network goes away. `reset`: what is open is reset and what is new is refused, as by a firewall
 * that answers. `silence`: nothing is forwarded and nobody is told, as by a switch that drops packets; what is open goes on when it heals.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'

export type Cut = 'reset' | 'silence'

export interface Proxy {
  readonly port: number
  /** Where it forwards to, on loopback. Until then connections are refused. */
  forwardTo(port: number): void
  /** The broker is dead: connections to this port are refused, as on its own. */
  withdraw(): Promise<void>
  /** It is there again, on the same port. */
  offer(): Promise<void>
  cut(how: Cut): void
  heal(): void
  connections(): number
  close(): Promise<void>
}

interface Pair {
  readonly client: Socket
  /** Null while the network is silent and the connection was not made yet. */
  broker: Socket | null
}

const SILENT_MAX = 10_000

export async function startProxy(): Promise<Proxy> {
  const pairs = new Set<Pair>()
  let target: number | null = null
  let state: Cut | null = null

  const end = (pair: Pair): void => {
    pairs.delete(pair)
    pair.client.destroy()
    pair.broker?.destroy()
  }

  const join = (pair: Pair): void => {
    if (target === null) return end(pair)
    const broker = connect({ host: '127.0.0.1', port: target, noDelay: true })
    pair.broker = broker
    broker.on('error', () => end(pair))
    broker.on('close', () => end(pair))
    pair.client.pipe(broker)
    broker.pipe(pair.client)
  }

  const server = createServer({ noDelay: true }, (client) => {
    if (target === null || state === 'reset' || pairs.size >= SILENT_MAX) {
      client.on('error', () => {})
      client.resetAndDestroy()
      return
    }
    const pair: Pair = { client, broker: null }
    pairs.add(pair)
    client.on('error', () => end(pair))
    client.on('close', () => end(pair))
    if (state === null) join(pair)
  })
  const listen = (port: number): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', () => {
        server.off('error', reject)
        resolve()
      })
    })
  await listen(0)
  const { port } = server.address() as AddressInfo

  const withdraw = async (): Promise<void> => {
    for (const pair of pairs) end(pair)
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  }

  return {
    port,
    forwardTo: (to) => (target = to),
    withdraw,
    offer: () => listen(port),
    cut: (how) => {
      state = how
      for (const pair of pairs) {
        if (how === 'reset') {
          pair.client.resetAndDestroy()
          end(pair)
          continue
        }
        pair.client.unpipe()
        pair.client.pause()
        pair.broker?.unpipe()
        pair.broker?.pause()
      }
    },
    heal: () => {
      state = null
      for (const pair of pairs) {
        if (pair.broker === null) {
          join(pair)
          continue
        }
        pair.client.pipe(pair.broker)
        pair.broker.pipe(pair.client)
      }
    },
    connections: () => pairs.size,
    close: withdraw,
  }
}
