/**
 * Options for all HTTP routers of the server. A path parameter may be a room id or a user id, which has up to 128
 * characters (docs/protocol.md, "Frames"). Percent-encoding turns each of these characters into up to 12 characters.
 */
export const routerOptions = { maxParamLength: 128 * 12 }
