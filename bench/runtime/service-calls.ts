/**
 * Calls of the service that answers a while later (bench/peers/service).
 *
 * Owns: a connection for each call under way, kept for the next one, as a pool of HTTP/1.1 has it; the Java contestant has one for each of its threads.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

const ASKED = Buffer.from([1])

interface Connection {
  readonly socket: Socket
  answered: () => void
}

export class ServiceCalls {
  readonly #port: number
  readonly #all: Connection[] = []
  readonly #free: Connection[] = []

  constructor(port: number) {
    this.#port = port
  }

  /** Resolves when the service has answered. */
  async call(): Promise<void> {
    const connection = this.#free.pop() ?? (await this.#open())
    const answer = new Promise<void>((resolve) => (connection.answered = resolve))
    connection.socket.write(ASKED)
    await answer
    this.#free.push(connection)
  }

  async #open(): Promise<Connection> {
    const socket = connect(this.#port, '127.0.0.1').setNoDelay(true)
    const connection: Connection = { socket, answered: () => {} }
    socket.on('data', () => connection.answered())
    this.#all.push(connection)
    await once(socket, 'connect')
    return connection
  }

  close(): void {
    for (const { socket } of this.#all) socket.destroy()
  }
}
