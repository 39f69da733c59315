import t from 'tap'
import { loadConfig } from '../../config/load.ts'
import { featureConfig } from '../../plugins/config.ts'

t.test('features see no secrets, and no settings of other features', async (t) => {
  const hidden = {
    ADMIN_API_KEY: 'a'.repeat(32),
    METRICS_TOKEN: 'metrics-token',
    REDIS_URL: 'redis://:redis-password@127.0.0.1:6379',
    REDIS_PASSWORD: 'redis-password',
    JWT_SECRET: 'j'.repeat(32),
    JWT_PREVIOUS_SECRETS: 'p'.repeat(32),
    TURN_SECRET: 'turn-secret',
    LARAVEL_INTERNAL_KEY: 'l'.repeat(32),
    FEATURES_CONFIG: '{"chat":{"history":123}}'
  }
  const config = loadConfig({ NODE_ENV: 'test', ...hidden })
  const seen = JSON.stringify(featureConfig(config))

  for (const [name, value] of Object.entries(hidden)) {
    t.notMatch(seen, name)
    t.notOk(seen.includes(value) || seen.includes('123'), `the value of ${name} is hidden`)
  }
  t.match(JSON.parse(seen), { NODE_ENV: 'test', MAX_CONNECTIONS: 20_000, featureDefaults: {} })
})
