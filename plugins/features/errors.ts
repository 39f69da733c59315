import createError from '@fastify/error'
import { withDetails } from '../errors/codes.ts'

// What can be wrong with a change of what runs.

export const FeatureNotFound = createError('FEATURE_NOT_FOUND', 'There is no feature %s', 404)
export const FeatureInUse = createError('FEATURE_IN_USE', 'The feature %s is needed by %s', 409)
export const DependencyDisabled = createError('DEPENDENCY_DISABLED', 'The feature %s needs %s, which does not run', 409)
export const FeatureLoadFailed = createError('FEATURE_LOAD_FAILED', 'The feature %s could not be loaded: %s', 422)

/** @param dependents names of those that run and need it */
export const featureInUse = (name: string, dependents: readonly string[]) =>
  withDetails(new FeatureInUse(name, dependents.join(', ')), { dependents })

/** @param dependencies names of those that would have to run */
export const dependencyDisabled = (name: string, dependencies: readonly string[]) =>
  withDetails(new DependencyDisabled(name, dependencies.join(', ')), { dependencies })
