import { createServer, type AddressInfo } from 'node:net'
import test from 'ava'
import { asListenError, isTaken, listenOnce } from '../../cli/listen.ts'
import { SluiceError } from '../../schemas/errors.ts'

const failure = (code: string): Error => Object.assign(new Error(`listen ${code}`), { code })

test('listen: only an address that is in use is one that is taken; whatever else a listener says is told with its field and what to do', (t) => {
  const taken = new SluiceError('SLU_ENV_PORT', 'observability.metrics.listen 127.0.0.1:1', failure('EADDRINUSE'))
  t.true(isTaken(taken))
  t.is(asListenError(taken, 'observability.metrics.listen', '127.0.0.1:1'), taken)
  for (const code of ['ENOTFOUND', 'EADDRNOTAVAIL', 'EACCES', 'EAI_AGAIN'])
    // The port behind an error of ours, or the bare error of a name that is looked up before.
    for (const thrown of [new SluiceError('SLU_ENV_PORT', '', failure(code)), failure(code)]) {
      const error = asListenError(thrown, 'observability.metrics.listen', 'hall:80')
      t.false(isTaken(thrown))
      t.like(error, { code: 'SLU_CONFIG_INVALID', detail: 'observability.metrics.listen: cannot listen on hall:80' })
      t.regex(String((error as Error).cause), new RegExp(code))
      t.regex((error as SluiceError).fix, code === 'EACCES' ? /1024/ : /address of this host/)
    }
  const other = new TypeError('no listener said this')
  t.is(asListenError(other, 'f', 'hall:80'), other)
})

test('listen: a port is bound and let go; one that is taken is SLU_ENV_PORT, an address of nobody here SLU_CONFIG_INVALID', async (t) => {
  const holder = createServer()
  await new Promise<void>((resolve) => holder.listen(0, '127.0.0.1', resolve))
  const at = `127.0.0.1:${(holder.address() as AddressInfo).port}`
  await t.throwsAsync(listenOnce('observability.metrics.listen', at), { code: 'SLU_ENV_PORT' })
  await t.throwsAsync(listenOnce('observability.metrics.listen', '203.0.113.1:0'), { code: 'SLU_CONFIG_INVALID' })
  await new Promise((resolve) => holder.close(resolve))
  for (let i = 0; i < 2; i++) await listenOnce('observability.metrics.listen', at)
  t.pass()
})
