import t from 'tap'
import { loadConfig } from '../../../config/load.ts'
import { featureConfig } from '../../../plugins/features/feature-config.ts'

t.test("features see the configuration without the kernel's secrets", async (t) => {
  const secrets = {
    ADMIN_API_KEY: 'a'.repeat(32),
    METRICS_TOKEN: 'metrics-token',
    REDIS_URL: 'redis://:password@127.0.0.1:6379',
    REDIS_PASSWORD: 'redis-password'
  }
  const config = loadConfig({ NODE_ENV: 'test', ...secrets })
  const seen = featureConfig(config)

  for (const name of Object.keys(secrets)) t.notOk(name in seen, name)
  const { ADMIN_API_KEY, METRICS_TOKEN, REDIS_URL, REDIS_PASSWORD, ...others } = config
  t.same([ADMIN_API_KEY, METRICS_TOKEN, REDIS_URL, REDIS_PASSWORD], [['a'.repeat(32)], secrets.METRICS_TOKEN, secrets.REDIS_URL, secrets.REDIS_PASSWORD])
  t.same(seen, others)
})
