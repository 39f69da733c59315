// Generates the recordings in scripts/demo/speech from the lines in scripts/demo/script.ts:
// node scripts/demo/speech.ts. The script needs espeak-ng and ffmpeg; the demo itself
// needs neither. The licence of espeak-ng does not cover its output.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { everybody } from './cast.ts'
import { fileOf, lines } from './script.ts'

const folder = join(import.meta.dirname, 'speech')
// Trims silence and normalises the volume.
const filters = 'silenceremove=start_periods=1:start_threshold=-50dB,areverse,silenceremove=start_periods=1:start_threshold=-50dB,areverse,highpass=f=90,alimiter=limit=0.7:level=disabled,adelay=60,apad=pad_dur=0.08'

rmSync(folder, { recursive: true, force: true })
mkdirSync(folder)
for (const line of lines) {
  const person = everybody.find(({ key }) => key === line.who)
  if (!person) throw new Error(`Unknown talker: ${line.who}`)
  const { voice, wordsPerMinute, pitch } = person.voicing
  const spoken = execFileSync('espeak-ng', ['-v', voice, '-s', String(wordsPerMinute), '-p', String(pitch), '-g', '2', '--stdout', line.text.replaceAll('’', "'")], { maxBuffer: 50e6 })
  // IMA ADPCM files are a quarter of the size of PCM files, and any player supports them. A test reads the spoken text
  // from the file's metadata.
  execFileSync('ffmpeg', [
    '-loglevel', 'error', '-i', '-', '-af', filters, '-ar', '16000', '-ac', '1', '-c:a', 'adpcm_ima_wav', '-trellis', '8',
    '-metadata', `comment=${line.text}`, '-fflags', '+bitexact', '-flags:a', '+bitexact', join(folder, fileOf(line))
  ], { input: spoken })
}

const files = readdirSync(folder)
const bytes = files.reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)
console.log(`${files.length} lines, ${(bytes / 1e6).toFixed(2)} MB`)
