// The live page: one look at /v1/state now and then, and each signal as it is made.

import { $, h, moment, number, span, td } from "/page/dom.js";
import { events, get, Refused, setToken } from "/page/link.js";

const RECENT = 50;
const LOOK_MS = 5000;
let state = null;
let skew = 0; // server's clock less this one's, milliseconds
let sort = "symbol";
const open = new Set(); // symbols whose features are shown

const now = () => (Date.now() + skew) * 1e6;

// --- what is drawn --------------------------------------------------------------------------------------------------

function draw() {
  if (!state) return;
  const { production } = state.models;
  $("where").textContent = `${production.name} · ${state.symbols.length} symbols · bars of ${span(state.interval_ns / 1e9)}`;
  $("trouble").hidden = !state.reload_error;
  $("trouble").textContent = state.reload_error ? `A new version was not loaded: ${state.reload_error}` : "";
  $("models").replaceChildren(...Object.entries(state.models).map(([lane, model]) => card(lane, model)));
  $("numbers").replaceChildren(...numbers());
  drawUniverse();
  drawRecent();
  drawPositions();
}

const shownGates = new Set();

function card(lane, model) {
  const left = model.expires_ns === null ? "never" : span((model.expires_ns - now()) / 1e9);
  const index = state.drift[lane];
  const limit = state.policy.settings.guard.drift_limit;
  const failed = model.gates.filter((gate) => !gate.passed).length;
  const gates = h(
    "details",
    {
      open: shownGates.has(lane) ? "" : null,
      ontoggle: (event) => (event.target.open ? shownGates.add(lane) : shownGates.delete(lane)),
    },
    h("summary", { class: failed ? "failed" : "passed" }, `gates: ${model.gates.length - failed} of ${model.gates.length} passed`),
    model.gates.map((gate) => h("div", { class: gate.passed ? "passed" : "failed" }, `${gate.passed ? "✓" : "✗"} ${gate.sentence}`)),
  );
  const drift = index === undefined
    ? ["no reference"]
    : [`${index.toFixed(3)} of ${limit} `, h("meter", { min: 0, max: limit, high: limit * 0.7, value: Math.min(index, limit) })];
  return h(
    "article",
    { class: "card", "data-lane": lane },
    h("h3", null, lane),
    h("div", { class: "big mono" }, model.version),
    h(
      "dl",
      null,
      ...[
        ["features", h("code", { title: model.fingerprint }, `${model.columns.length} · ${model.fingerprint.slice(0, 16)}`)],
        ["trained until", moment(model.trained_until_ns)],
        ["expires in", left],
        ["drift", drift],
      ].flatMap(([name, value]) => [h("dt", null, name), h("dd", null, ...[value].flat())]),
    ),
    gates,
  );
}

function numbers() {
  const { p50, p99 } = state.latency_us;
  const sides = { BUY: 0, HOLD: 0, SELL: 0 };
  let agree = 0;
  let both = 0;
  for (const { signal, shadow } of state.symbols) {
    if (signal) sides[signal.side] += 1;
    if (signal && shadow) {
      both += 1;
      agree += signal.side === shadow.side;
    }
  }
  const us = (value) => (value === null ? "–" : value < 1000 ? `${value.toFixed(0)} µs` : `${(value / 1000).toFixed(1)} ms`);
  const ready = state.symbols.filter((row) => row.ready).length;
  const counted = Object.entries(state.counters).filter(([name, count]) => count && !["taken", "snapshots"].includes(name));
  const tiles = [
    ["latency p50 · p99", `${us(p50)} · ${us(p99)}`],
    ["ready", `${ready} of ${state.symbols.length}`],
    ["buy · hold · sell", `${sides.BUY} · ${sides.HOLD} · ${sides.SELL}`],
    ["shadow agrees", both ? `${agree} of ${both}` : "–"],
    ["bars taken", (state.counters.taken ?? 0).toLocaleString("en")],
    ["bars refused, gaps", counted.map(([name, count]) => `${name} ${count}`).join(", ") || "none"],
  ];
  return tiles.map(([name, value]) => h("article", { class: "card" }, h("h3", null, name), h("div", { class: value.length > 22 ? "" : "big" }, value)));
}

function bar(p) {
  if (!p) return "–";
  let x = 0;
  const parts = ["SELL", "HOLD", "BUY"].map((side, k) => {
    const part = h("rect", { x, y: 0, width: p[k] * 120, height: 12, class: `fill-${side}` });
    x += p[k] * 120;
    return part;
  });
  const text = p.map((value) => value.toFixed(3)).join(" · ");
  return h("svg", { class: "bar", viewBox: "0 0 120 12", role: "img", "aria-label": text }, ...parts);
}

const age = (row) => (row.time_ns === null ? null : (now() - row.time_ns - state.interval_ns) / 1e9);

const keys = {
  symbol: (row) => row.symbol,
  side: (row) => ({ BUY: 0, SELL: 1, HOLD: 2 })[row.signal?.side] ?? 3,
  confidence: (row) => -(row.signal?.confidence ?? -1),
  score: (row) => -(row.signal?.score ?? -Infinity),
  age: (row) => -(age(row) ?? Infinity),
};

function drawUniverse() {
  const wanted = $("filter").value.trim().toUpperCase();
  const rows = state.symbols.filter((row) => row.symbol.toUpperCase().includes(wanted));
  const key = keys[sort];
  rows.sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a.symbol < b.symbol ? -1 : 1));
  for (const button of document.querySelectorAll("[data-sort]")) {
    button.setAttribute("aria-pressed", String(button.dataset.sort === sort));
  }
  const focused = document.activeElement?.dataset?.symbol;
  $("universe").tBodies[0].replaceChildren(...rows.flatMap(universeRow));
  if (focused) document.querySelector(`tr[data-symbol="${CSS.escape(focused)}"]`)?.focus();
}

function universeRow(row) {
  const { signal, shadow } = row;
  const toggle = () => {
    if (!open.delete(row.symbol)) open.add(row.symbol);
    drawUniverse();
  };
  const line = h(
    "tr",
    {
      class: "row",
      tabindex: 0,
      "data-symbol": row.symbol,
      "aria-expanded": String(open.has(row.symbol)),
      onclick: toggle,
      onkeydown: (event) => {
        if (event.key === "Enter") toggle();
      },
    },
    td(row.symbol + (signal?.selected ? " ★" : "")),
    td(signal?.side ?? "–", signal?.side),
    td(signal ? signal.confidence.toFixed(3) : "–", "number"),
    h("td", null, bar(signal?.p)),
    td(number(signal?.score, 3), "number"),
    td(shadow?.side ?? "–", shadow?.side),
    td(number(signal?.close, 7), "number"),
    td(span(age(row)), "number"),
    td(signal ? (signal.reason || (signal.selected ? `${signal.leverage.toFixed(1)}x, notional ${signal.notional.toFixed(0)}` : "")) : row.ready ? "" : "warm-up", "why"),
  );
  if (!open.has(row.symbol)) return [line];
  const values = Object.entries(row.features).map(([name, value]) => h("span", null, h("span", { class: "soft" }, name), h("span", { class: "mono" }, number(value, 5))));
  return [line, h("tr", null, h("td", { colspan: 9 }, h("div", { class: "features" }, ...(values.length ? values : ["no bar yet"]))))];
}

function drawRecent() {
  const rows = state.recent.slice(-RECENT).reverse().map((signal) =>
    h("tr", null, td(moment(signal.time_ns), "soft"), td(signal.symbol), td(signal.side, signal.side), td(signal.confidence.toFixed(3), "number"), td(signal.source), td(signal.model.split("/").pop(), "mono")));
  $("recent").tBodies[0].replaceChildren(...(rows.length ? rows : [h("tr", null, td("none yet", "soft"))]));
}

function drawPositions() {
  const rows = Object.entries(state.positions).map(([symbol, held]) =>
    h("tr", null, td(symbol), td(held.side, held.side), td(`entry ${number(held.entry, 5)}`), td(`stop ${number(held.stop, 5)}`), td(`target ${number(held.target, 5)}`), td(`${held.bars} bars`, "number")));
  $("positions").tBodies[0].replaceChildren(...(rows.length ? rows : [h("tr", null, td("none", "soft"))]));
}

// --- what keeps it current ------------------------------------------------------------------------------------------

let drawing = false;
function soon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function take(event, data) {
  if (event === "models") {
    look();
    return;
  }
  const row = state?.symbols.find((one) => one.symbol === data.symbol);
  if (!row) return;
  if (event === "signal") {
    row.signal = data;
    row.time_ns = data.time_ns;
    state.recent.push(data);
    state.recent.splice(0, state.recent.length - RECENT);
  } else if (event === "shadow") {
    row.shadow = data;
  }
  soon();
}

async function look() {
  try {
    state = await get("/v1/state");
    skew = state.now_ns / 1e6 - Date.now();
    $("login").hidden = true;
    draw();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) $("login").hidden = false;
  }
}

function link(kind, text) {
  $("link").className = `pill ${kind}`;
  $("link").textContent = text;
}

async function follow() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
    try {
      await events("/v1/stream", () => {
        wait = 250;
        link("on", "live");
        look();
      }, take);
    } catch {
      // Told below; tried again.
    }
    link("off", "not connected");
    await new Promise((done) => setTimeout(done, wait));
  }
}

$("filter").addEventListener("input", () => state && drawUniverse());
for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    sort = button.dataset.sort;
    if (state) drawUniverse();
  });
}
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken($("token").value.trim());
  look();
});
look();
follow();
setInterval(look, LOOK_MS);
