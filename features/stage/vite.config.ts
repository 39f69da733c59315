import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vite'

const pages = join(import.meta.dirname, 'pages')
const layout = readFileSync(join(pages, 'shared', 'page.html'), 'utf8')

/** Builds three pages: index.html for rooms, admin.html for admins, and listen.html for listeners of a broadcast. */
export default defineConfig({
  root: pages,
  // The pages use relative URLs, because a proxy may serve the pages below a path prefix. The pages are at /, /admin
  // and /listen/:roomId, and the assets of all pages are below /stage/.
  base: './',
  experimental: {
    // The page listen.html is served at /listen/:roomId, one level deeper than the other pages.
    renderBuiltUrl: (filename, { hostType, hostId }) => hostType === 'html' ? `${hostId.endsWith('listen.html') ? '../' : ''}stage/${filename}` : { relative: true }
  },
  publicDir: false,
  plugins: [
    vue(),
    // The HTML file of each page contains only a title and a script. The layout contains everything else.
    { name: 'layout', transformIndexHtml: { order: 'pre', handler: (head) => layout.replace('<!-- head -->', () => head) } }
  ],
  resolve: {
    // The client package is the only other part of this repository that the pages import.
    alias: { '@flylive/audio-client': join(import.meta.dirname, '..', '..', 'client', 'index.ts') }
  },
  build: {
    target: 'es2022',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    // Source maps are separate files that only debuggers load.
    sourcemap: true,
    // Vite's polyfill for module preloading is an inline script, which the content security policy forbids.
    modulePreload: { polyfill: false },
    rollupOptions: { input: { index: join(pages, 'index.html'), admin: join(pages, 'admin.html'), listen: join(pages, 'listen.html') } }
  }
})
