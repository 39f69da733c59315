// What Vite makes of it is not TypeScript's concern.
declare module '*.css'
