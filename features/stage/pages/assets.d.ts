// Vite resolves these imports; TypeScript only needs to accept them.
declare module '*.css'

/** The build of hls.js without subtitles, alternative audio and DRM. The package has no types for this build. */
declare module 'hls.js/light' {
  const Hls: typeof import('hls.js').default
  type Hls = import('hls.js').default
  export default Hls
}
