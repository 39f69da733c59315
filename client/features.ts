import type { EventData, EventType } from './protocol.ts'

/**
 * @param features the features that were enabled before the event
 * @param type the type of the server event
 * @returns the features that are enabled after the event; the same object if nothing changed
 */
export function featuresAfter (features: ReadonlySet<string>, type: EventType, data: EventData<EventType>): ReadonlySet<string> {
  if (type === 'session:ready') {
    const named = new Set((data as EventData<typeof type>).features)
    return features.symmetricDifference(named).size === 0 ? features : named
  }
  if (type === 'feature:enabled' || type === 'feature:disabled') {
    const { name } = data as EventData<typeof type>
    const on = type === 'feature:enabled'
    if (features.has(name) === on) return features
    return new Set(on ? [...features, name] : [...features].filter((one) => one !== name))
  }
  return features
}
