import type { EnvironmentDefaults } from './load.ts'

/** Defaults for tests, which run many servers on one machine. */
export default {
  env: {
    HOST: '127.0.0.1',
    PORT: '0',
    LOG_LEVEL: 'silent',
    MEDIASOUP_LISTEN_IP: '127.0.0.1',
    MEDIASOUP_WORKERS: '1',
    DRAIN_SECONDS: '0',
    // The limits are so high that they do not affect tests. A test of a limit sets a lower limit.
    MAX_CONNECTIONS_PER_USER: '1000000',
    JOINS_PER_MINUTE: '1000000',
    ROOMS_CREATED_PER_MINUTE: '1000000',
    USER_LOOKUPS_PER_MINUTE: '1000000',
    ROOM_UPDATES_PER_MINUTE: '1000000',
    MODERATION_COMMANDS_PER_MINUTE: '1000000',
    SEAT_COMMANDS_PER_MINUTE: '1000000',
    SEAT_ADMIN_COMMANDS_PER_MINUTE: '1000000',
    MEDIA_COMMANDS_PER_MINUTE: '1000000'
  },
  features: { stage: false }
} satisfies EnvironmentDefaults
