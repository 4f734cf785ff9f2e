// The API of the record, with the token of who looks. The token stays in this tab, and in no URL.

const TOKEN = "trunkline.records.token";

/** A refusal or a failure, in words for whoever looks. */
export class ApiFault extends Error {
  constructor(status, title, detail) {
    super(title);
    this.status = status;
    this.title = title;
    this.detail = detail;
  }
}

export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

/** The JSON at a path. Throws ApiFault. */
export async function get(path) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { headers, cache: "no-store" });
  } catch {
    throw new ApiFault(0, "The record cannot be reached", "Is python -m records.api running?");
  }
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  throw new ApiFault(response.status, problem.title ?? `Status ${response.status}`, problem.detail ?? "");
}

/** Everything the page of one call shows, read at once. */
export async function getCall(callId) {
  const path = `/v1/calls/${encodeURIComponent(callId)}`;
  const parts = [path, `${path}/media`, `${path}/transcript`, `${path}/events`];
  const [{ call, story }, { spans }, { items, erased_us: erasedUs }, { events }] = await Promise.all(parts.map(get));
  return { call, story, spans, items, erasedUs, events };
}
