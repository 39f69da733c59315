/**
 * Options of all routers of the server. Ids of rooms and users have up to 128 characters (protocol.md,
 * section 2). A character has up to 12 characters when it is percent-encoded.
 */
export const routerOptions = { maxParamLength: 128 * 12 }
