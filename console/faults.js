// What can go wrong with a call, in words a caller can act on. Pure: no page, no network.

/** One thing that went wrong: a stable `code`, a `title`, a `detail`, and when to try again. */
export class Fault {
  static NAMES = {
    microphone_refused: "Microphone refused",
    microphone_missing: "No microphone",
    microphone_busy: "Microphone busy",
    busy: "Refused",
    problem: "Refused",
    refused: "Refused",
    key_refused: "Key refused",
    backend_lost: "Backend lost",
    connection_lost: "Connection lost",
    unreachable: "Server unreachable",
  };

  constructor(code, title, detail, { status = null, retryAfterS = null } = {}) {
    Object.assign(this, { code, title, detail, status, retryAfterS });
    Object.freeze(this);
  }

  /** The state in two words. */
  get name() {
    return Fault.NAMES[this.code] ?? "Failed";
  }
}

const MICROPHONE = {
  NotAllowedError: [
    "microphone_refused",
    "The microphone was refused",
    "Allow the microphone for this site (the icon beside the address), then try again. " +
      "On some systems the privacy settings must also let this browser record.",
  ],
  NotFoundError: [
    "microphone_missing",
    "No microphone was found",
    "Connect a microphone or headset, check that the system lists it as an input, then try again.",
  ],
  NotReadableError: [
    "microphone_busy",
    "The microphone could not be opened",
    "Another program may be holding it. Close that program, or choose another input, then try again.",
  ],
};
MICROPHONE.SecurityError = MICROPHONE.NotAllowedError;
MICROPHONE.OverconstrainedError = MICROPHONE.NotFoundError;

/** The fault behind a rejected getUserMedia, by the error's name (Media Capture, section 10.2). */
export function microphoneFault(error) {
  const [code, title, detail] = MICROPHONE[error?.name] ?? [
    "microphone_failed",
    "The microphone could not be used",
    `The browser said: ${error?.message || error?.name || "nothing"}.`,
  ];
  return new Fault(code, title, detail);
}

/** Browsers hide both APIs on plain http:// pages, except on localhost. */
export function unsupportedFault(isSecureContext) {
  const detail = isSecureContext
    ? "This browser offers no WebRTC or no microphone access. A current Chrome, Edge, Firefox or Safari does."
    : "Browsers allow the microphone only on https:// pages and on localhost. Open this page that way.";
  return new Fault("unsupported", "This page cannot place a call here", detail);
}

/** The browser could not make an offer: seen with extensions or policies that forbid WebRTC. */
export function offerFault(error) {
  const detail = `It would not make an offer: ${text(error?.message, 500) || "no reason given"}.`;
  return new Fault("no_offer", "The browser could not start the call", detail);
}

/** Seconds until `now_ms` + Retry-After (RFC 9110 section 10.2.3: seconds or a date), or null. */
export function retryAfterS(header, nowMs) {
  if (!header) return null;
  if (/^\s*\d{1,9}\s*$/.test(header)) return Number(header);
  const atMs = Date.parse(header);
  return Number.isNaN(atMs) ? null : Math.max(0, Math.ceil((atMs - nowMs) / 1000));
}

/** Title and detail of an RFC 9457 body; null when the body is something else. */
export function problemOf(contentType, body) {
  if (!/^application\/problem\+json\b/i.test(contentType ?? "")) return null;
  try {
    const { title, detail } = JSON.parse(body);
    return { title: text(title, 200), detail: text(detail, 1000) };
  } catch {
    return null;
  }
}

/** The fault behind an HTTP answer that is not 201. */
export function answerFault({ status, contentType, body, retryAfter }, nowMs) {
  const problem = problemOf(contentType, body);
  const waitS = retryAfterS(retryAfter, nowMs);
  const said = problem?.detail || problem?.title || "";
  const options = { status, retryAfterS: waitS };
  if (status === 401 || status === 403) {
    const help = "Check the API keys the server was started with, then reload this page.";
    return new Fault("key_refused", "The server refused this page's key", sentence(said, help), options);
  }
  if (status === 503 || status === 429) {
    const title = problem?.title || "The server takes no calls right now";
    const detail = problem?.detail || `It answered with status ${status} and no explanation.`;
    return new Fault("busy", title, detail, options);
  }
  if (problem) {
    const title = problem.title || "The server refused the call";
    return new Fault("problem", title, sentence(problem.detail, `(Status ${status})`), options);
  }
  const detail = `It answered the offer with status ${status} and no explanation.`;
  return new Fault("refused", "The server refused the call", detail, options);
}

/** The POST never got an answer: no route, no listener, a CORS refusal, or silence. */
export function unreachableFault(error) {
  if (error?.name === "TimeoutError") {
    return new Fault("timeout", "The server did not answer", "The offer was sent, but no answer came in time.");
  }
  const detail = "The offer could not be delivered. Check that the server is running and that you are online.";
  return new Fault("unreachable", "The server could not be reached", detail);
}

/** ICE found no path: name the addresses the answer offered, as they are what must be reachable. */
export function iceFault(addresses) {
  if (addresses.length === 0) {
    const detail = "The answer named no relay address, so there is nowhere to send sound to.";
    return new Fault("ice_failed", "The answer has no media address", detail);
  }
  const detail =
    `The server accepted the call, but no UDP packet came back from ${addresses.join(" or ")}. ` +
    "A firewall, VPN or network rule on the way is probably blocking UDP. " +
    "Allow outgoing UDP to that address, or try another network.";
  return new Fault("ice_failed", "Sound cannot reach the relay", detail);
}

/** The path works but the handshake on it does not. */
export function dtlsFault() {
  const detail =
    "Packets reach the relay, but the encrypted connection (DTLS) was not established. " +
    "The event log shows how far it came.";
  return new Fault("dtls_failed", "The secure connection failed", detail);
}

/** A call that worked and then lost its path for good. */
export function lostFault(addresses) {
  const via = addresses.length ? ` with ${addresses.join(" or ")}` : "";
  const detail = `No packet was exchanged${via} for too long. The network may have changed or gone away.`;
  return new Fault("connection_lost", "The connection was lost", detail);
}

/** The server said that the model went away, and ended the call. */
export function backendLostFault(message) {
  return new Fault("backend_lost", "The backend was lost", message || "The connection to the model was lost.");
}

/** The browser would not take the answer. */
export function badAnswerFault(error) {
  return new Fault(
    "bad_answer",
    "The server's answer could not be used",
    text(error?.message, 500) || "It is not a valid session description.",
  );
}

/** /console/config.json is missing or wrong. */
export function settingsFault(reason) {
  return new Fault("settings_unreadable", "The page's settings could not be read", reason);
}

function text(value, limit) {
  return typeof value === "string" ? value.trim().slice(0, limit) : "";
}

function sentence(first, second) {
  if (!first) return second;
  return `${first}${/[.!?]$/.test(first) ? "" : "."} ${second}`;
}
