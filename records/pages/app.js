// The pages of the record: a list of calls at /, one call at /calls/ID, what calls cost at /tax. Which one is shown stands
// in the address.
//
// For tests, `document.body.dataset.shown` is "list", "call", "tax", "sign-in" or "fault" once something is shown.

import { get, getCall, hasToken, setToken } from "./api.js";
import { CallPage } from "./call.js";
import { CallList } from "./list.js";
import { byId, setText } from "./page.js";
import { TaxPage } from "./tax.js";

const LIVE_EVERY_MS = 2_000;
const LIST_EVERY_MS = 5_000;
const VIEWS = ["sign-in", "fault", "list", "call", "tax"];
const DENIED = 401;

const list = new CallList(openPath, onFault);
const page = new CallPage();
const tax = new TaxPage(openPath);
let turn = 0; // counts openings, so that a late answer does not show over a newer one
let timer = null;

function show(view) {
  for (const name of VIEWS) byId(name).hidden = name !== view;
  document.body.dataset.shown = view;
}

function callIdHere() {
  const found = location.pathname.match(/^\/calls\/([^/]+)$/);
  return found ? decodeURIComponent(found[1]) : null;
}

async function open() {
  const mine = ++turn;
  clearTimeout(timer);
  try {
    await tellMe();
    const callId = callIdHere();
    if (location.pathname === "/tax") await openTax(mine);
    else if (callId === null) await openList(mine);
    else await openCall(callId, mine);
  } catch (fault) {
    if (mine === turn) onFault(fault);
  }
}

async function openList(mine) {
  await list.open();
  if (mine !== turn) return;
  document.title = "Trunkline calls";
  show("list");
  again(mine, LIST_EVERY_MS, () => list.refresh());
}

async function openTax(mine) {
  const showIt = await tax.read();
  if (mine !== turn) return;
  document.title = "Plumbing Tax";
  showIt();
  show("tax");
}

async function openCall(callId, mine) {
  const told = await getCall(callId);
  if (mine !== turn) return;
  show("call");
  page.show(told);
  if (page.isLive) again(mine, LIVE_EVERY_MS, async () => mine === turn && page.show(await getCall(callId)));
}

/** Read anew, as long as this view is shown and somebody looks; a failure is tried again. */
function again(mine, everyMs, read) {
  timer = setTimeout(async () => {
    if (!document.hidden) await read().catch(() => {});
    if (mine === turn && (callIdHere() === null || page.isLive)) again(mine, everyMs, read);
  }, everyMs);
}

async function tellMe() {
  const me = await get("/v1/me");
  setText(byId("me"), me.role === "key" ? `Calls of ${me.tenant}` : `${me.name}, ${me.role}`);
  byId("sign-out").hidden = !hasToken();
}

function onFault(fault) {
  if (fault.status === DENIED) {
    setText(byId("sign-in-note"), hasToken() ? "That token is not known." : "");
    setToken("");
    setText(byId("me"), "");
    byId("sign-out").hidden = true;
    show("sign-in");
    byId("token").focus();
    return;
  }
  setText(byId("fault-title"), fault.title ?? "The page failed");
  setText(byId("fault-detail"), fault.detail ?? fault.message);
  show("fault");
}

function openPath(path) {
  history.pushState(null, "", path);
  open();
}

byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(byId("token").value.trim());
  byId("token").value = "";
  open();
});
byId("sign-out").addEventListener("click", () => {
  setToken("");
  open();
});
byId("again").addEventListener("click", open);
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href^='/']");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  openPath(link.getAttribute("href"));
  byId("main").focus({ preventScroll: true });
  scrollTo(0, 0);
});
addEventListener("popstate", open);
open();
