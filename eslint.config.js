import neostandard from 'neostandard'

export default [
  ...neostandard({
    ts: true,
    ignores: ['node_modules', '.tap', 'docs/contract', 'test/fixtures/features/broken']
  }),
  {
    rules: {
      '@typescript-eslint/no-explicit-any': 'error'
    },
    files: ['**/*.ts']
  }
]
