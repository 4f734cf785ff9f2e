// The filters of the list: a form, the page's own address, and the query of the API say the same. Pure.

const PLAIN = ["text", "state", "end_reason", "model", "prompt", "key"];
export const NAMES = [...PLAIN, "since", "slower"];

/** The query of the API for filters { name: value }; `since` is in hours before now. */
export function queryOf(filters, nowMs) {
  const parts = [];
  for (const name of PLAIN) if (filters[name]) parts.push(`${name}=${encodeURIComponent(filters[name])}`);
  const hours = Number(filters.since);
  if (hours > 0) parts.push(`since=${encodeURIComponent(new Date(nowMs - hours * 3_600_000).toISOString())}`);
  if (/^\d{1,6}$/.test(filters.slower ?? "")) parts.push(`v2v_p95_ms%3E${filters.slower}`);
  return parts.join("&");
}

/** The filters of the page's address. */
export function filtersIn(search) {
  const given = new URLSearchParams(search);
  return Object.fromEntries(NAMES.flatMap((name) => (given.get(name) ? [[name, given.get(name)]] : [])));
}

/** The page's address for filters, "" for none. */
export function searchOf(filters) {
  const set = NAMES.flatMap((name) => (filters[name] ? [[name, filters[name]]] : []));
  return set.length ? `?${new URLSearchParams(set)}` : "";
}
