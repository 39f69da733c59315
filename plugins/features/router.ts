import findMyWay from 'find-my-way'
import type { HTTPMethod } from 'find-my-way'
import { routerOptions } from '../../config/router.ts'
import type { Generation } from './generation.ts'

/** Which feature answers an HTTP call that the kernel has no route for. */
export interface FeatureRouter {
  find (method: string, url: string): Generation | undefined
  /** @throws when the route is there already */
  add (method: string, url: string, generation: Generation | undefined): void
}

export function createRouter (generations: readonly Generation[]): FeatureRouter {
  const router = findMyWay({ ...routerOptions, ignoreTrailingSlash: false })
  const add: FeatureRouter['add'] = (method, url, generation) => router.on(method as HTTPMethod, url, () => {}, generation)
  for (const generation of generations) {
    for (const { method, url } of generation.routes) add(method, url, generation)
  }
  return {
    find: (method, url) => router.find(method as HTTPMethod, url.split('?')[0] ?? '/')?.store as Generation | undefined,
    add
  }
}
