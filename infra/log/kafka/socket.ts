/**
 * The socket under kafkajs: it hands over whole answers, each read into memory of its own size.
 *
 * Owns: connecting, where an answer ends, and what is no answer of Kafka's. By itself Node makes a buffer for every read and kafkajs another one for all of
 * them; V8 counts them and marks the whole heap once for every 64 MiB. Here all sockets read into one buffer, of which nothing is kept.
 * kafkajs takes whole answers as it takes any bytes, and the rest of one that a socket did not live to see goes with the socket.
 * Format: Kafka protocol guide, "Requests and responses": an INT32 length, then as many bytes; SASL tokens come in the same form.
 */
import { connect, isIP, type SocketConstructorOpts } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import type { ISocketFactory } from 'kafkajs'

const READ_BYTES = 1 << 18
const LENGTH_BYTES = 4
/** No answer is this long: one of a fetch is as long as its request allows, or as one batch. */
export const ANSWER_BYTES_MAX = 1 << 28
const KEEP_ALIVE_MS = 60_000
/** While a broker is away, each request that gives up on it leaves a listener on the socket that is connecting: they go with the socket. */
const SOCKET_LISTENERS_MAX = 1000

const WORDS = { FOREIGN_HTTP: 'the answer is HTTP', FOREIGN_TLS: 'the answer to plain text is a TLS alert', FOREIGN_BYTES: 'the answer is none of Kafka' } as const

/** Whoever answers speaks no Kafka, or speaks TLS; `code` says which. */
export class ForeignAnswer extends Error {
  readonly code: keyof typeof WORDS

  constructor(code: keyof typeof WORDS) {
    super(WORDS[code])
    this.code = code
  }
}

/** What a length gives away that none can be. */
function foreign(length: Buffer): ForeignAnswer {
  if (length.toString('latin1') === 'HTTP') return new ForeignAnswer('FOREIGN_HTTP')
  return new ForeignAnswer(length[0] === 0x15 && length[1] === 0x03 ? 'FOREIGN_TLS' : 'FOREIGN_BYTES')
}

/**
 * Takes the bytes of one socket as they come; `onAnswer` is given length and all. What it returns throws: `ForeignAnswer` where the first answer is none,
 * which no waiting mends; later an error like that of any connection.
 */
export function answersOf(onAnswer: (answer: Buffer) => void): (bytes: Uint8Array) => void {
  const length = Buffer.alloc(LENGTH_BYTES)
  let answer = length
  let filled = 0
  let isKafka = false
  return (bytes) => {
    for (let at = 0; at < bytes.length;) {
      const taken = Math.min(answer.length - filled, bytes.length - at)
      answer.set(bytes.subarray(at, at + taken), filled)
      at += taken
      filled += taken
      if (filled < answer.length) return
      if (answer === length) {
        const size = length.readInt32BE()
        if (size < 0 || size > ANSWER_BYTES_MAX) throw isKafka ? new RangeError(`an answer of ${size} bytes`) : foreign(length)
        answer = Buffer.allocUnsafe(LENGTH_BYTES + size)
        answer.set(length)
        if (size > 0) continue
      }
      const whole = answer
      answer = length
      filled = 0
      isKafka = true
      onAnswer(whole)
    }
  }
}

const read = Buffer.allocUnsafeSlow(READ_BYTES)

/** An `ISocketFactory` of kafkajs: 'data' is one answer. */
export const connectSocket: ISocketFactory = ({ host, port, ssl, onConnect }) => {
  const take = answersOf((answer) => void socket.emit('data', answer))
  const onread: SocketConstructorOpts['onread'] = {
    buffer: read,
    callback: (count) => {
      try {
        take(read.subarray(0, count))
        return true
      } catch (error) {
        socket.destroy(error as Error)
        return false
      }
    },
  }
  // kafkajs gives null where there is no TLS; Node's types lack `onread` of `tls.connect`.
  const secure = (ssl as ConnectionOptions | null | undefined) ?? null
  const name = isIP(host) === 0 ? { servername: host } : {}
  const options = { host, port, onread }
  const socket = secure === null ? connect(options, onConnect) : connectTls({ ...name, ...secure, ...options }, onConnect)
  return socket.setKeepAlive(true, KEEP_ALIVE_MS).setMaxListeners(SOCKET_LISTENERS_MAX)
}
