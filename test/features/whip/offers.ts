// SDP offers from browsers, without ICE candidates.

const lines = (text: string) => text.trim().split('\n').join('\r\n') + '\r\n'

/** Chromium's SDP offer for sending microphone audio. */
export const chromiumOffer = lines(`
v=0
o=- 6247337370137911412 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=extmap-allow-mixed
a=msid-semantic: WMS fc17eb8b-7235-40fb-9a9a-3c03b7c4c218
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:+SlB
a=ice-pwd:/ayArTOQeTDFjYKTX4y2/1YA
a=ice-options:trickle
a=fingerprint:sha-256 AB:86:45:EA:6A:A9:2E:E9:ED:1D:88:1A:66:F0:22:F5:FB:26:62:46:26:99:8E:AC:34:A1:91:68:BB:15:CF:C9
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
a=sendonly
a=msid:fc17eb8b-7235-40fb-9a9a-3c03b7c4c218 71cbd10b-d89a-432a-89cc-a2d293cd6612
a=rtcp-mux
a=rtcp-rsize
a=rtcp-xr:rcvr-rtt=all
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:13 CN/8000
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
a=ssrc:4052856319 cname:7qqXLJ9dBIQd+dh7
a=ssrc:4052856319 msid:fc17eb8b-7235-40fb-9a9a-3c03b7c4c218 71cbd10b-d89a-432a-89cc-a2d293cd6612
`)

/** Firefox's SDP offer for sending microphone audio. */
export const firefoxOffer = lines(`
v=0
o=mozilla...THIS_IS_SDPARTA-99.0 960162036323886734 0 IN IP4 0.0.0.0
s=-
t=0 0
a=sendrecv
a=fingerprint:sha-256 A7:DE:CE:53:1C:51:AC:48:12:C1:07:E1:D9:F5:90:FD:C8:CE:25:94:67:F0:A1:30:EC:85:F4:4F:F8:32:41:E0
a=group:BUNDLE 0
a=ice-options:trickle
a=msid-semantic:WMS *
m=audio 9 UDP/TLS/RTP/SAVPF 109 9 0 8 101
c=IN IP4 0.0.0.0
a=sendonly
a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level
a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid
a=extmap:7 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=extmap-allow-mixed
a=fmtp:109 maxplaybackrate=48000;stereo=1;useinbandfec=1
a=fmtp:101 0-15
a=ice-pwd:2ed758c1cdeb3258d76519ade0c01e8a
a=ice-ufrag:0a057ea9
a=mid:0
a=msid:{c6b93d26-d098-41d8-bedc-4495bc64dcfc} {3f7c533f-09e8-4855-99a8-37b11dc31f7b}
a=rtcp-fb:109 transport-cc
a=rtcp-fb:9 transport-cc
a=rtcp-fb:0 transport-cc
a=rtcp-fb:8 transport-cc
a=rtcp-mux
a=rtpmap:109 opus/48000/2
a=rtpmap:9 G722/8000/1
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=setup:actpass
a=ssrc:1032082358 cname:{e64629d1-c7d3-415d-95d5-957bb962def7}
`)
