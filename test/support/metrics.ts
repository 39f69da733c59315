import type { TestServer } from './build.ts'

/** @returns the sum of the metric's values with the given labels; 0 if there are none */
export async function metricOf ({ app }: Pick<TestServer, 'app'>, name: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
  const metric = app.metrics.registry.getSingleMetric(name)
  if (!metric) throw new Error(`There is no metric ${name}`)
  const { values } = await metric.get()
  return values
    .filter(({ labels: own }) => Object.entries(labels).every(([label, value]) => String(own[label as keyof typeof own]) === value))
    .reduce((sum, { value }) => sum + value, 0)
}
