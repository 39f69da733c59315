/** @returns the path of a request target, without scheme, host and query; still percent-encoded */
export function pathOf (target: string): string {
  return target.replace(/^https?:\/\/[^/?#]*/i, '').split(/[?#]/, 1)[0] || '/'
}

/** Whether a path equals a prefix or is below it. The comparison uses whole path segments. */
export function isBelow (path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}/`)
}

/**
 * Whether a prefix and a route's URL can both match one request.
 *
 * @param url the route's URL, which may contain parameters and a wildcard
 */
export function overlapsRoute (prefix: string, url: string): boolean {
  const fixed = url.split(/[:*]/, 1)[0] as string
  return isBelow(fixed, prefix) || (fixed !== url && `${prefix}/`.startsWith(fixed))
}

/** @throws if the path is not absolute or contains a character that is not allowed */
export function checkPath (path: string): void {
  if (!/^\/[\w.~/-]+$/.test(path)) throw new Error(`The path ${path} is invalid: a path starts with a slash and contains only letters, digits and . _ ~ - /`)
}

/** @throws if the prefix is the root, ends with a slash, or is not a valid path */
export function checkPrefix (prefix: string): void {
  checkPath(prefix)
  if (prefix.endsWith('/')) throw new Error(`The prefix ${prefix} must not end with a slash`)
}
