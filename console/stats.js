// A getStats() report in, one flat summary out. Pure: any iterable map of stats objects will do.

/** An empty summary: what the page shows before the first report. */
export const NO_STATS = Object.freeze({
  roundTripMs: null,
  packetsLost: null,
  packetsReceived: 0,
  packetsSent: 0,
  jitterMs: null,
  setupMs: null,
  sentLost: null,
  sentKbps: null,
  receivedKbps: null,
  codec: null,
  path: null,
});

/**
 * Summarise one report (W3C WebRTC Statistics). Times in ms, rates in kbit/s since `previous`.
 * `setupMs` is measured by the call itself and only carried along.
 */
export function summarise(report, setupMs, previous = null) {
  const stats = [...report.values()];
  const inbound = stats.find((s) => s.type === "inbound-rtp" && s.kind === "audio");
  const outbound = stats.find((s) => s.type === "outbound-rtp" && s.kind === "audio");
  const remote = stats.find((s) => s.type === "remote-inbound-rtp" && s.kind === "audio");
  const transport = stats.find((s) => s.type === "transport");
  const pair = selectedPair(report, stats, transport);
  return Object.freeze({
    roundTripMs: toMs(pair?.currentRoundTripTime ?? remote?.roundTripTime),
    packetsLost: inbound?.packetsLost ?? null,
    packetsReceived: inbound?.packetsReceived ?? 0,
    packetsSent: outbound?.packetsSent ?? 0,
    jitterMs: toMs(inbound?.jitter),
    setupMs,
    sentLost: remote?.packetsLost ?? null,
    sentKbps: rateKbps(outbound?.bytesSent, outbound?.timestamp, previous?.counted?.sent),
    receivedKbps: rateKbps(inbound?.bytesReceived, inbound?.timestamp, previous?.counted?.received),
    codec: codecLine(report.get(inbound?.codecId ?? outbound?.codecId)),
    path: pathLine(report.get(pair?.remoteCandidateId), transport),
    counted: {
      wait: { emitted: inbound?.jitterBufferEmittedCount, delayS: inbound?.jitterBufferDelay },
      sent: { bytes: outbound?.bytesSent, atMs: outbound?.timestamp },
      received: { bytes: inbound?.bytesReceived, atMs: inbound?.timestamp },
    },
  });
}

/**
 * What this browser knows of the way to the server: the last STUN round trip, and the mean wait of what
 * it played since `previous` (a summary) in its own jitter buffer; null for what is not known.
 */
export function legsOf(summary, previous = null) {
  return { rttMs: summary.roundTripMs, jitterBufferMs: waitMs(summary.counted?.wait, previous?.counted?.wait) };
}

function waitMs(now, before) {
  const emitted = now?.emitted - (before?.emitted ?? 0);
  if (!(emitted > 0)) return null;
  return Math.round(((now.delayS - (before?.delayS ?? 0)) / emitted) * 10_000) / 10;
}

function selectedPair(report, stats, transport) {
  const selected = report.get(transport?.selectedCandidatePairId);
  // Firefox has no transport stats; there the nominated pair is the one in use.
  return selected ?? stats.find((s) => s.type === "candidate-pair" && s.nominated && s.state === "succeeded");
}

function toMs(seconds) {
  return typeof seconds === "number" ? Math.round(seconds * 10000) / 10 : null;
}

function rateKbps(bytes, atMs, before) {
  const elapsedMs = atMs - before?.atMs;
  if (!(elapsedMs > 0)) return null;
  return Math.round(((bytes - before.bytes) * 8) / elapsedMs);
}

/** "Opus 48 kHz stereo, payload 111, minptime=10;useinbandfec=1" */
function codecLine(codec) {
  if (!codec) return null;
  const name = codec.mimeType.replace(/^audio\//i, "");
  const label = name[0].toUpperCase() + name.slice(1);
  const layout = codec.channels === 2 ? " stereo" : "";
  const format = codec.sdpFmtpLine ? ` · ${codec.sdpFmtpLine.replaceAll(";", " ")}` : "";
  return `${label} ${codec.clockRate / 1000} kHz${layout} · payload ${codec.payloadType}${format}`;
}

// RFC 5246 and RFC 6347 count DTLS versions downwards: 1.2 is FEFD, 1.3 is FEFC.
const DTLS_VERSIONS = { FEFF: "DTLS 1.0", FEFD: "DTLS 1.2", FEFC: "DTLS 1.3" };

function pathLine(candidate, transport) {
  const host = candidate?.address ?? candidate?.ip;
  const parts = [
    host && `${(candidate.protocol ?? "udp").toUpperCase()} to ${hostPort(host, candidate.port)}`,
    DTLS_VERSIONS[transport?.tlsVersion],
    transport?.srtpCipher?.replace(/^SRTP_/, "SRTP "),
  ];
  return parts.filter(Boolean).join(" · ") || null;
}

/** host:port, with the brackets an IPv6 address needs (RFC 3986 section 3.2.2). */
export function hostPort(host, port) {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The distinct UDP addresses an SDP offers, as host:port (RFC 8839 section 5.1). At most 8. */
export function candidateAddresses(sdp) {
  const found = new Set();
  for (const [, host, port] of sdp.matchAll(/^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ /gim)) {
    if (found.size < 8) found.add(hostPort(host, port));
  }
  return [...found];
}
