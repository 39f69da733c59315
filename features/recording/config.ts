import { fromEnv, read, secret, z } from 'flylive-audio-server/feature'

/** Settings that admins can change at run time. */
export const config = z.object({
  days: fromEnv('RECORDING_DAYS', z.number().min(0).max(36_500).default(30)
    .describe('The server deletes recordings this many days after they end. With 0, recordings are stored until an admin deletes them.'), read.number),
  maxHours: fromEnv('RECORDING_MAX_HOURS', z.number().min(0.001).max(168).default(12)
    .describe('Maximum duration of a recording, in hours.'), read.number),
  maxRooms: fromEnv('RECORDING_MAX_ROOMS', z.int().min(1).max(10_000).default(50)
    .describe('Maximum number of rooms that this server records at the same time.'), read.number),
  minFreeMb: fromEnv('RECORDING_MIN_FREE_MB', z.int().min(0).max(1_000_000_000).default(5)
    .describe('Minimum free space on the disk of DATA_DIR, in MiB. If the free space falls below this value, running recordings end, and no new recording can start.'), read.number),
  commandsPerMinute: fromEnv('RECORDING_COMMANDS_PER_MINUTE', z.int().min(1).max(1_000_000).default(30)
    .describe('Maximum number of recording starts and stops per user per minute.'), read.number),
  s3Url: fromEnv('RECORDING_S3_URL', z.url({ protocol: /^https?$/, error: 'must be like https://s3.example.com/bucket' }).optional()
    .describe('URL of an S3 bucket for recordings. The server uploads each file while the recording runs. If this variable is not set, recordings are stored in DATA_DIR/recordings.')),
  s3Region: fromEnv('RECORDING_S3_REGION', z.string().min(1).default('auto')
    .describe('Region of the bucket for recordings.')),
  s3AccessKeyId: fromEnv('RECORDING_S3_ACCESS_KEY_ID', secret(z.string().min(1).optional()
    .describe('Access key ID for the recordings bucket. Required with RECORDING_S3_URL.'))),
  s3SecretAccessKey: fromEnv('RECORDING_S3_SECRET_ACCESS_KEY', secret(z.string().min(1).optional()
    .describe('Secret access key for the recordings bucket. Required with RECORDING_S3_URL.')))
})

const withUrl = (given: Readonly<Record<string, string | undefined>>) => given.RECORDING_S3_URL !== undefined
export const requirements = [
  { name: 'RECORDING_S3_ACCESS_KEY_ID', when: withUrl, reason: 'with RECORDING_S3_URL' },
  { name: 'RECORDING_S3_SECRET_ACCESS_KEY', when: withUrl, reason: 'with RECORDING_S3_URL' }
]
