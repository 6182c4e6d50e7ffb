import test from 'ava'
import { startHealthServer } from '../../../infra/observability/health-server.ts'

test('health server: ready says why not, live stays up meanwhile, anything else is 404', async (t) => {
  let reasons: string[] = ['route-inference has not joined']
  const server = await startHealthServer('127.0.0.1:0', { reasons: () => reasons, status: () => ({ offset: 7n, beyond: 2n ** 60n }) })
  const get = async (path: string): Promise<[number, { reasons: string[] }]> => {
    const answer = await fetch(server.url + path)
    return [answer.status, (await answer.json()) as { reasons: string[] }]
  }
  t.deepEqual((await get('/ready'))[0], 503)
  t.deepEqual((await get('/ready'))[1].reasons, reasons)
  t.is((await get('/live'))[0], 200)
  t.is((await get('/config'))[0], 404)
  t.deepEqual(await (await fetch(`${server.url}/status`)).json(), { offset: 7, beyond: String(2n ** 60n) })
  reasons = []
  t.is((await get('/ready'))[0], 200)
  await t.throwsAsync(startHealthServer(new URL(server.url).host, { reasons: () => [], status: () => ({}) }), { message: /SLU_ENV_PORT/ })
  await server.close()
})
