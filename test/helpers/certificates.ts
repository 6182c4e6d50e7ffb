/** An authority, server certificates for 127.0.0.1 and a client certificate, made anew for each call; PEM texts. */
import { generate } from 'selfsigned'

export interface Certificates {
  readonly ca: string
  readonly server: { readonly cert: string; readonly key: string }
  /** As `server`, but over since yesterday. */
  readonly expired: { readonly cert: string; readonly key: string }
  /** As `server`, but for the name `elsewhere.test`. */
  readonly elsewhere: { readonly cert: string; readonly key: string }
  /** Its common name is `client`. */
  readonly client: { readonly cert: string; readonly key: string }
}

const named = (value: string) => [{ name: 'commonName', value }]
const DAY_MS = 86_400_000
const SHAPE = { keyType: 'ec', algorithm: 'sha256' } as const

export async function makeCertificates(name = 'test authority'): Promise<Certificates> {
  const authority = await generate(named(name), {
    ...SHAPE,
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true },
    ],
  })
  const ca = { key: authority.private, cert: authority.cert }
  const here = { extensions: [{ name: 'subjectAltName' as const, altNames: [{ type: 7 as const, ip: '127.0.0.1' }] }] }
  const days = (from: number, to: number) => ({ notBeforeDate: new Date(Date.now() + from * DAY_MS), notAfterDate: new Date(Date.now() + to * DAY_MS) })
  const [server, expired, elsewhere, client] = await Promise.all([
    generate(named('broker'), { ...SHAPE, ca, ...here }),
    generate(named('broker'), { ...SHAPE, ca, ...here, ...days(-3, -1) }),
    generate(named('broker'), { ...SHAPE, ca, extensions: [{ name: 'subjectAltName', altNames: [{ type: 2, value: 'elsewhere.test' }] }] }),
    generate(named('client'), { ...SHAPE, ca, extensions: [{ name: 'extKeyUsage', clientAuth: true }] }),
  ])
  const pair = (made: { cert: string; private: string }) => ({ cert: made.cert, key: made.private })
  return { ca: ca.cert, server: pair(server), expired: pair(expired), elsewhere: pair(elsewhere), client: pair(client) }
}
