/**
 * Options for all routers of the server. Room ids and user ids have up to 128 characters (protocol.md,
 * section 2). Percent-encoding turns one character into up to 12 characters.
 */
export const routerOptions = { maxParamLength: 128 * 12 }
