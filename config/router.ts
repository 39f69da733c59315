/**
 * Options for all routers of the server. Room ids and user ids have up to 128 characters (docs/protocol.md,
 * "Frames"). Percent-encoding turns one character into up to 12 characters.
 */
export const routerOptions = { maxParamLength: 128 * 12 }
