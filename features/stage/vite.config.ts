import { join } from 'node:path'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

const pages = join(import.meta.dirname, 'pages')

/** How the pages are made: index.html, for those who talk, and admin.html. */
export default defineConfig({
  root: pages,
  base: '/stage/',
  publicDir: false,
  plugins: [vue()],
  resolve: {
    // The client as its package exports it: the pages use nothing else of this repository.
    alias: { '@flylive/audio-client': join(import.meta.dirname, '..', '..', 'client', 'index.ts') }
  },
  build: {
    target: 'es2022',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    // Files of their own, that nobody loads but a debugger.
    sourcemap: true,
    // Would be a script in the page, which its content security policy forbids.
    modulePreload: { polyfill: false },
    rollupOptions: { input: { index: join(pages, 'index.html'), admin: join(pages, 'admin.html') } }
  }
})
