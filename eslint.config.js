import neostandard from 'neostandard'

export default [
  ...neostandard({
    ts: true,
    ignores: ['node_modules', '.tap', 'docs/contract', 'client/dist', 'test/fixtures/features/broken']
  }),
  {
    rules: {
      '@typescript-eslint/no-explicit-any': 'error'
    },
    files: ['**/*.ts']
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
