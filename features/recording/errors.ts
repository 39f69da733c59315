import { createError } from 'flylive-audio-server/feature'

export const NotRecording = createError('NOT_RECORDING', 'Room %s is not being recorded', 409)
export const RecordingNotFound = createError('RECORDING_NOT_FOUND', 'Recording %s does not exist', 404)
export const FileNotFound = createError('FILE_NOT_FOUND', 'The recording has no file %s', 404)
export const RecordingActive = createError('RECORDING_ACTIVE', 'Recording %s has not ended. Stop it first', 409)
export const RecordingLimit = createError('RECORDING_LIMIT', 'The server records at most %s rooms at the same time', 429)
export const StorageFull = createError('STORAGE_FULL', 'The server has too little free disk space for a recording', 507)
export const RangeNotSatisfiable = createError('RANGE_NOT_SATISFIABLE', 'The requested range is not in the file, which has %s bytes', 416)
