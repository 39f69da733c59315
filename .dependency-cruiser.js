/** Import rules, checked by `npm run lint`. The rules also apply to type-only imports. */
export default {
  forbidden: [
    {
      name: 'no-cycles-between-kernel-folders',
      severity: 'error',
      scope: 'folder',
      from: { path: '^plugins/[^/]+$' },
      to: { path: '^plugins/[^/]+$', circular: true }
    },
    {
      name: 'features-use-the-surface',
      comment: 'A feature reaches the kernel through flylive-audio-server/feature and /fmp4, and other features through getFeature or decorators.',
      severity: 'error',
      from: { path: '^features/([^/]+)/' },
      to: { pathNot: ['^features/$1/', '^plugins/features/feature\\.ts$', '^plugins/media/fmp4\\.ts$', '^node_modules/'], dependencyTypesNot: ['core'] }
    },
    {
      name: 'kernel-imports-no-feature',
      severity: 'error',
      from: { path: '^(?:plugins|routes|config|app\\.ts|server\\.ts)' },
      to: { path: '^features/' }
    },
    {
      name: 'client-imports-nothing-of-the-server',
      severity: 'error',
      from: { path: '^client/' },
      to: { pathNot: ['^client/', '^node_modules/'], dependencyTypesNot: ['core'] }
    }
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^features/stage/pages|/\\.built/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'default'], extensions: ['.ts', '.js', '.mjs'] }
  }
}
