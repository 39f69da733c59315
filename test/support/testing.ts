// The test helpers for feature authors, exported as `flylive-audio-server/testing`.
export { default as t } from 'tap'
export { adminKey, build, onBothStores, onEveryStore, tokenFor } from './build.ts'
export type { BuildOptions, StoreKind, TestServer } from './build.ts'
export type { TestClient } from './client.ts'
export { until } from './retry.ts'
