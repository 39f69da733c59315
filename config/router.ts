/**
 * What all routers of the server share. Ids of rooms and users have up to 128
 * characters (protocol.md, section 2), each up to twelve when it is encoded.
 */
export const routerOptions = { maxParamLength: 128 * 12 }
