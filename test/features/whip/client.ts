// Functions that run in a page. Like the examples in docs/whip.md, these functions use only browser APIs.

/**
 * Publishes the microphone with WHIP. Runs in the page.
 *
 * @returns the offer, the answer and the response's headers
 */
export async function publish ({ url, token }: { url: string, token: string }) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true })
  const connection = new RTCPeerConnection()
  connection.addTransceiver(stream.getAudioTracks()[0] as MediaStreamTrack, { direction: 'sendonly', streams: [stream] })
  await connection.setLocalDescription()
  const offer = connection.localDescription?.sdp ?? ''
  const response = await fetch(url, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/sdp' }, body: offer })
  const answer = await response.text()
  if (response.status !== 201) return { offer, answer, status: response.status, location: '', etag: '' }
  await connection.setRemoteDescription({ type: 'answer', sdp: answer })
  Object.assign(globalThis, { whip: connection })
  return { offer, answer, status: response.status, location: response.headers.get('location') ?? '', etag: response.headers.get('etag') ?? '' }
}

/** Restarts ICE on the connection that {@link publish} opened. Runs in the page. */
export async function restart ({ url, token }: { url: string, token: string }) {
  const connection = (globalThis as unknown as { whip: RTCPeerConnection }).whip
  connection.restartIce()
  await connection.setLocalDescription()
  const offer = connection.localDescription?.sdp ?? ''
  const value = (name: string, sdp: string) => new RegExp(`^a=${name}:(.*?)\r?$`, 'm').exec(sdp)?.[1] ?? ''
  const fragment = `a=ice-ufrag:${value('ice-ufrag', offer)}\r\na=ice-pwd:${value('ice-pwd', offer)}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n`
  const response = await fetch(url, { method: 'PATCH', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/trickle-ice-sdpfrag', 'if-match': '*' }, body: fragment })
  const body = await response.text()
  if (response.status !== 200) return { status: response.status, etag: '' }
  const sdp = (connection.currentRemoteDescription?.sdp ?? '')
    .replace(/^a=ice-ufrag:.*$/m, `a=ice-ufrag:${value('ice-ufrag', body)}`).replace(/^a=ice-pwd:.*$/m, `a=ice-pwd:${value('ice-pwd', body)}`)
  await connection.setRemoteDescription({ type: 'answer', sdp })
  return { status: response.status, etag: response.headers.get('etag') ?? '' }
}

/**
 * Plays a stream with WHEP. Runs in the page.
 *
 * @param name the track's name for `measureFrequency`
 */
export async function play ({ url, token, name }: { url: string, token: string, name: string }) {
  const connection = new RTCPeerConnection()
  const tracks = Promise.withResolvers<MediaStreamTrack>()
  connection.ontrack = ({ track }) => tracks.resolve(track)
  connection.addTransceiver('audio', { direction: 'recvonly' })
  await connection.setLocalDescription()
  const offer = connection.localDescription?.sdp ?? ''
  const response = await fetch(url, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/sdp' }, body: offer })
  const answer = await response.text()
  if (response.status !== 201) return { offer, answer, status: response.status }
  await connection.setRemoteDescription({ type: 'answer', sdp: answer })
  const track = await tracks.promise
  const audio = document.createElement('audio')
  audio.srcObject = new MediaStream([track])
  document.body.append(audio)
  await audio.play()
  // `measureFrequency` looks up the track by this name.
  Object.assign(globalThis, { whep: connection, flylive: { participants: [], audio: { heard: [{ userId: name, track }] } } })
  return { offer, answer, status: response.status }
}

/** Returns how many packets the player has received and lost. Runs in the page. */
export async function received () {
  const report = await (globalThis as unknown as { whep: RTCPeerConnection }).whep.getStats()
  for (const stats of report.values() as Iterable<{ type: string, packetsReceived: number, packetsLost: number, totalAudioEnergy?: number }>) {
    if (stats.type === 'inbound-rtp') return { packets: stats.packetsReceived, lost: stats.packetsLost, energy: stats.totalAudioEnergy ?? 0 }
  }
  return { packets: 0, lost: 0, energy: 0 }
}
