import vue from 'eslint-plugin-vue'
import neostandard, { plugins } from 'neostandard'

// The npm packages that features are allowed to import. The packages of the kernel (fastify, mediasoup, ioredis) are
// not among them, because features use them only through the feature API.
const featurePackages = [
  '@fastify/static', '@mediabunny/aac-encoder', '@msgpack/msgpack', '@vitejs/plugin-vue', 'engine.io', 'fast-jwt', 'lru-cache', 'mediabunny', 'opossum', 'p-limit', 'sdp-transform', 'socket.io', 'socket.io-parser', 'undici', 'uuid', 'vite', 'ws', 'zod-openapi'
]

export default [
  ...neostandard({
    ts: true,
    ignores: ['node_modules', '.tap', 'docs/contract', 'client/dist', '**/.built', 'test/fixtures/features/broken']
  }),
  {
    rules: {
      '@typescript-eslint/no-explicit-any': 'error'
    },
    files: ['**/*.ts']
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      'no-restricted-syntax': ['error', {
        selector: 'CallExpression[callee.object.name="t"][callee.property.name="match"] > .arguments:nth-child(2) ArrayExpression[elements.length=0]',
        message: 'In a pattern of t.match, [] matches every array. Use emptyArray (test/support/empty-array.ts).'
      }, {
        selector: 'CallExpression[callee.object.name="t"][callee.property.name="match"] > ArrayExpression.arguments:nth-child(2)[elements.length=0]',
        message: 'The pattern [] of t.match matches every array. Use t.same.'
      }]
    }
  },
  ...vue.configs['flat/recommended'],
  {
    files: ['**/*.vue'],
    languageOptions: { parserOptions: { parser: plugins['typescript-eslint'].parser } },
    rules: { 'no-undef': 'off' }
  },
  {
    // The stage's pages are allowed to import their own files, and only packages that any other client could use too.
    files: ['features/stage/pages/**/*.{ts,vue}'],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [{
          regex: '^(?!(?:@flylive/audio-client|hls\\.js/light|vue|\\.{1,2}/(?:(?:shared|stage|admin|listen)/)?[^/.][^/]*\\.(?:ts|vue|css))$)',
          message: 'The pages use the public client package, hls.js, Vue and their own files.'
        }]
      }]
    }
  },
  {
    // The features in this repository use only the API that features outside the repository have.
    files: ['features/**/*.ts', 'scripts/feature-template/*.ts'],
    ignores: ['features/stage/pages/**', '**/*.test.ts'],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [{
          regex: `^(?!(?:flylive-audio-server/(?:feature|fmp4)|zod|fastify-plugin|node:.*|\\./[^/.][^/]*\\.ts|${featurePackages.join('|')})$)`,
          message: 'A feature uses flylive-audio-server/feature, flylive-audio-server/fmp4, zod, fastify-plugin, node:, its own files, and the packages named in featurePackages.'
        }]
      }]
    }
  }
]
