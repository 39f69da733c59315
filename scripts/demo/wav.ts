/** A decoded recording from scripts/demo/speech. */
export interface Recording {
  samples: Int16Array
  sampleRate: number
  /** The spoken text. */
  text: string
}

/** By IMA ADPCM code: by how much the step index changes. */
const indexChanges = [-1, -1, -1, -1, 2, 4, 6, 8]
const steps = [
  7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 21, 23, 25, 28, 31, 34, 37, 41, 45, 50, 55, 60, 66, 73, 80, 88, 97, 107, 118, 130, 143, 157, 173, 190,
  209, 230, 253, 279, 307, 337, 371, 408, 449, 494, 544, 598, 658, 724, 796, 876, 963, 1060, 1166, 1282, 1411, 1552, 1707, 1878, 2066, 2272, 2499,
  2749, 3024, 3327, 3660, 4026, 4428, 4871, 5358, 5894, 6484, 7132, 7845, 8630, 9493, 10442, 11487, 12635, 13899, 15289, 16818, 18500, 20350,
  22385, 24623, 27086, 29794, 32767
]
const imaAdpcm = 0x11

/**
 * Reads a mono WAV file in IMA ADPCM, four bits per sample.
 *
 * @throws if the file has another format
 */
export function readWav (file: Buffer): Recording {
  const chunks = chunksOf(file, 12)
  const [format, data] = [chunks.get('fmt '), chunks.get('data')]
  if (!format || !data || format.readUInt16LE(0) !== imaAdpcm || format.readUInt16LE(2) !== 1) throw new Error('The file is not a mono WAV file in IMA ADPCM')
  const info = chunks.get('LIST')
  // Number of samples, without the silence that fills the last block.
  const count = chunks.get('fact')?.readUInt32LE(0) ?? Infinity
  return {
    sampleRate: format.readUInt32LE(4),
    samples: decode(data, format.readUInt16LE(12)).subarray(0, count),
    text: (info && chunksOf(info, 4).get('ICMT')?.toString().replace(/\0+$/, '')) ?? ''
  }
}

function chunksOf (bytes: Buffer, from: number): Map<string, Buffer> {
  const chunks = new Map<string, Buffer>()
  for (let at = from; at + 8 <= bytes.length;) {
    const size = bytes.readUInt32LE(at + 4)
    chunks.set(bytes.toString('latin1', at, at + 4), bytes.subarray(at + 8, at + 8 + size))
    at += 8 + size + size % 2
  }
  return chunks
}

/** Decodes IMA ADPCM. Each block starts with a sample and a step index. */
function decode (data: Buffer, blockSize: number): Int16Array {
  const samples: number[] = []
  for (let start = 0; start + 4 <= data.length; start += blockSize) {
    let sample = data.readInt16LE(start)
    let index = data.readUInt8(start + 2)
    samples.push(sample)
    for (const byte of data.subarray(start + 4, start + blockSize)) {
      for (const code of [byte & 15, byte >> 4]) {
        const change = ((2 * (code & 7) + 1) * (steps[index] ?? 0)) >> 3
        sample = Math.max(-32_768, Math.min(32_767, sample + (code & 8 ? -change : change)))
        index = Math.max(0, Math.min(steps.length - 1, index + (indexChanges[code & 7] ?? 0)))
        samples.push(sample)
      }
    }
  }
  return Int16Array.from(samples)
}
