import createError from '@fastify/error'
import { withDetails } from '../errors/codes.ts'

// Errors of changes to the running features.

export const FeatureNotFound = createError('FEATURE_NOT_FOUND', 'Feature %s does not exist', 404)
export const FeatureInUse = createError('FEATURE_IN_USE', 'Feature %s is required by %s', 409)
export const DependencyDisabled = createError('DEPENDENCY_DISABLED', 'Feature %s requires %s, which is not running', 409)
export const FeatureLoadFailed = createError('FEATURE_LOAD_FAILED', 'Feature %s failed to load: %s', 422)

/** @param dependents names of the running features that require it */
export const featureInUse = (name: string, dependents: readonly string[]) =>
  withDetails(new FeatureInUse(name, dependents.join(', ')), { dependents })

/** @param dependencies names of the features that must run */
export const dependencyDisabled = (name: string, dependencies: readonly string[]) =>
  withDetails(new DependencyDisabled(name, dependencies.join(', ')), { dependencies })
