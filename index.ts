/** What a handler file imports as `'sluice'` (design.md §4.5). */
export * from './streams/define-function.ts'
export { SluiceError } from './schemas/errors.ts'
export type { LogRecord } from './schemas/log.ts'
export { toLambda, type ToLambdaPorts } from './streams/to-lambda.ts'
