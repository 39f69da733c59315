import findMyWay from 'find-my-way'
import type { HTTPMethod } from 'find-my-way'
import { routerOptions } from '../../config/router.ts'
import type { Generation } from './generation.ts'

/** Routes HTTP requests that match no kernel route to features. */
export interface FeatureRouter {
  find (method: string, url: string): Generation | undefined
  /** @throws if the route exists already */
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
