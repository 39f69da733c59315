import vue from 'eslint-plugin-vue'
import neostandard, { plugins } from 'neostandard'

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
  ...vue.configs['flat/recommended'],
  {
    files: ['**/*.vue'],
    languageOptions: { parserOptions: { parser: plugins['typescript-eslint'].parser } },
    rules: { 'no-undef': 'off' }
  },
  {
    // What anybody can write a client with.
    files: ['features/stage/pages/**/*.{ts,vue}'],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [{
          regex: '^(?!(?:@flylive/audio-client|vue|\\.{1,2}/(?:(?:shared|stage|admin)/)?[^/.][^/]*\\.(?:ts|vue|css))$)',
          message: 'The pages use the public client package, Vue and their own files.'
        }]
      }]
    }
  },
  {
    // Written as any feature outside of the repository is: against the public surface alone.
    files: ['features/lobby/**/*.ts', 'features/reactions/**/*.ts', 'scripts/feature-template/*.ts'],
    ignores: ['**/*.test.ts'],
    rules: {
      'no-restricted-imports': ['error', {
        patterns: [{
          regex: '^(?!(?:flylive-audio-server/feature|zod|fastify-plugin|node:.*|\\./[^/.][^/]*\\.ts)$)',
          message: 'A feature uses flylive-audio-server/feature, zod, fastify-plugin, node: and its own files.'
        }]
      }]
    }
  }
]
