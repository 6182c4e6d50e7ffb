import test from 'ava'
import { checkNames } from '../../cli/run.ts'
import { defineFunction, LAMBDA_DEFAULTS, type LambdaFunction } from '../../streams/define-function.ts'

const lambda = (name: string) =>
  defineFunction<LambdaFunction>({ kind: 'lambda', name, inputs: ['orders'], outputs: [], ...LAMBDA_DEFAULTS, handler: () => Promise.resolve(undefined) })

test('run: two functions of one name, which would share a consumer group, are refused before anything starts', (t) => {
  t.throws(() => checkNames([lambda('orders'), 'route-inference', lambda('orders')], undefined), { message: /SLU_USE.*two functions are named orders/ })
  t.throws(() => checkNames(['route-inference', lambda('route-inference')], undefined), { message: /SLU_USE.*route-inference/ })
  t.throws(() => checkNames(['route-inference', 'route-inference'], undefined), { message: /SLU_USE.*route-inference/ })
  t.throws(() => checkNames([lambda('both'), lambda('both')], 'both'), { message: /SLU_USE.*both/ })
  t.notThrows(() => checkNames([lambda('orders'), lambda('invoices'), 'route-inference'], undefined))
})

test('run: a Lambda handler is not named after a file as all handlers are named; --name says which it is', (t) => {
  for (const name of ['index', 'handler', 'lambda-function']) t.throws(() => checkNames([lambda(name)], undefined), { message: new RegExp(`SLU_USE.*${name}.*--name`) })
  t.notThrows(() => checkNames([lambda('handler')], 'handler'))
  t.throws(() => checkNames(['route-inference'], 'other'), { message: /SLU_USE.*--name/ })
})
