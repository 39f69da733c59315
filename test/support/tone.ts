const sampleRate = 48_000
/** In seconds; a browser plays it over and over. */
const duration = 10

/**
 * A sine tone that can be repeated without a seam: whole frequencies fill
 * whole seconds.
 *
 * @param hz frequency, a whole number
 * @returns a WAV file, 16-bit mono at 48 kHz
 */
export function toneWav (hz: number): Buffer {
  const samples = sampleRate * duration
  const wav = Buffer.alloc(44 + samples * 2)
  wav.write('RIFF', 0)
  wav.writeUInt32LE(wav.length - 8, 4)
  wav.write('WAVEfmt ', 8)
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(1, 22)
  wav.writeUInt32LE(sampleRate, 24)
  wav.writeUInt32LE(sampleRate * 2, 28)
  wav.writeUInt16LE(2, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36)
  wav.writeUInt32LE(samples * 2, 40)
  for (let i = 0; i < samples; i++) {
    wav.writeInt16LE(Math.round(0.3 * 32_767 * Math.sin(2 * Math.PI * hz * i / sampleRate)), 44 + i * 2)
  }
  return wav
}
