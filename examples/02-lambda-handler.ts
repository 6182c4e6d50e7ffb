/**
 * Example 2: a handler written for AWS Lambda's Kafka event source with Powertools for AWS Lambda, unchanged: it would run there as it is.
 *
 * Run it with `sluice run examples/02-lambda-handler.ts --topics health.notes`. A record that is no JSON, or a note without a text, is listed
 * among the batch's failures, tried again and parked on `health.notes.dlq` in the end; the others are done once.
 */
import { kafkaConsumer } from '@aws-lambda-powertools/kafka'
import { z } from 'zod'

const note = z.object({ device: z.string(), text: z.string().min(1) })

/** Notes by device, as a table of the function's own. */
export const notes = new Map<string, string>()

export const handler = kafkaConsumer<unknown, z.infer<typeof note>>(
  async ({ records }) => {
    const batchItemFailures: { itemIdentifier: { partition: string; offset: number } }[] = []
    for (const record of records)
      try {
        const { device, text } = record.value
        notes.set(device, text)
      } catch {
        batchItemFailures.push({ itemIdentifier: { partition: `${record.topic}-${record.partition}`, offset: record.offset } })
      }
    return Promise.resolve({ batchItemFailures })
  },
  { value: { type: 'json', parserSchema: note } },
)
