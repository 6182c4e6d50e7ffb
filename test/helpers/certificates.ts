/** An authority, a server certificate for 127.0.0.1 and a client certificate, made anew for each call; PEM texts. */
import { generate } from 'selfsigned'

export interface Certificates {
  readonly ca: string
  readonly server: { readonly cert: string; readonly key: string }
  /** Its common name is `client`. */
  readonly client: { readonly cert: string; readonly key: string }
}

const named = (value: string) => [{ name: 'commonName', value }]
const SHAPE = { keyType: 'ec', algorithm: 'sha256' } as const

export async function makeCertificates(): Promise<Certificates> {
  const authority = await generate(named('test authority'), {
    ...SHAPE,
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true },
    ],
  })
  const ca = { key: authority.private, cert: authority.cert }
  const [server, client] = await Promise.all([
    generate(named('broker'), { ...SHAPE, ca, extensions: [{ name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] }] }),
    generate(named('client'), { ...SHAPE, ca, extensions: [{ name: 'extKeyUsage', clientAuth: true }] }),
  ])
  return { ca: ca.cert, server: { cert: server.cert, key: server.private }, client: { cert: client.cert, key: client.private } }
}
