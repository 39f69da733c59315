/** A host name that does not exist. Its label is too long, so the resolver fails at once and asks no DNS server. */
export const unknownHost = `${'no-such-host-'.repeat(5)}.invalid`
