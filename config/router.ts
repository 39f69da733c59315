/**
 * Options of all routers of the server. Ids of rooms and users have up to 128
 * characters (protocol.md, section 2), each of which takes up to 12 when encoded.
 */
export const routerOptions = { maxParamLength: 128 * 12 }
