// Vite handles imports of CSS files. This declaration only makes TypeScript accept them.
declare module '*.css'

/** The build of hls.js without subtitles, alternative audio and DRM. The hls.js package has no types for this build. */
declare module 'hls.js/light' {
  const Hls: typeof import('hls.js').default
  type Hls = import('hls.js').default
  export default Hls
}
