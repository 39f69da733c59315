// Vite resolves these imports; TypeScript only needs to accept them.
declare module '*.css'
