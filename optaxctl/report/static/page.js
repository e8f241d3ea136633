"use strict";
(() => {
const root = document.documentElement;
const data = JSON.parse(document.getElementById("data").textContent);
const says = document.getElementById("says");
const boxes = [...document.querySelectorAll(".chart")];
const charts = new Map(); // from its box to what uPlot drew in it
const [first, last] = data.steps;
let shown = [first, last];

// What a test, or a person with a question, wants to know of this page.
addEventListener("error", (e) => { root.dataset.error = e.message; });
addEventListener("securitypolicyviolation", (e) => { root.dataset.blocked = e.blockedURI; });

const probe = document.body.appendChild(document.createElement("i"));
probe.hidden = true;
function colour(name) { // canvas does not know variables
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

function number(v) {
  if (v == null) return "—";
  const whole = v === Math.trunc(v) && Math.abs(v) < 1e15;
  return whole ? v.toLocaleString("en") : String(Number(v.toPrecision(4)));
}

function round(v, up) { // to 1, 2 or 5 times a power of ten
  const power = 10 ** Math.floor(Math.log10(v));
  const steps = [1, 2, 5, 10].map((n) => n * power);
  return up ? steps.find((n) => n >= v * (1 - 1e-9)) : steps.findLast((n) => n <= v * (1 + 1e-9));
}

const dashes = { mean: [8, 3], bound: [6, 4] };

function series(line) {
  const stroke = colour(`line-${line.colour}`);
  const hit = line.kind === "hit";
  const few = line.kind === "check" && line.steps.length < 80;
  const stepped = uPlot.paths.stepped({ align: 1 });
  return {
    label: line.label,
    stroke,
    alpha: line.faint ? data.faint : 1,
    width: line.kind !== "step" ? 2 : line.faint ? 1 : 1.5,
    dash: dashes[line.kind],
    paths: hit ? () => null : line.kind === "bound" ? stepped : undefined,
    points: { show: few || hit, size: hit ? 4 : 6, stroke, fill: stroke },
    value: (u, v) => number(v),
  };
}

// The nearest value of a line: lines of one chart are measured at different steps.
function nearest(u, line, at) {
  const values = u.data[line];
  for (let off = 0; off < values.length; off++) {
    if (values[at - off] != null) return at - off;
    if (values[at + off] != null) return at + off;
  }
  return at;
}

function draw(box) {
  const panel = data.panels[box.dataset.panel];
  const [quiet, grid] = [colour("quiet"), colour("grid")];
  const axis = { stroke: quiet, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const u = new uPlot({
    width: box.clientWidth,
    height: box.dataset.panel === "0" ? 300 : 190,
    padding: [24, 26, 0, 0],
    series: [{ label: "step", value: (u, v) => number(v) }, ...panel.lines.map(series)],
    scales: { x: { time: false, range: (u, low, high) => [low, high] }, y: panel.log ? { distr: 3, range: (u, low, high) => [round(low, false), round(high, true)] } : {} },
    axes: [
      { ...axis, size: 28, values: (u, ticks) => ticks.map((v) => Number.isInteger(v) ? number(v) : "") },
      { ...axis, size: 64, values: (u, ticks) => ticks.map((v) => v == null ? "" : number(v)) },
    ],
    cursor: {
      sync: { key: "steps" }, drag: { x: true, y: false }, dataIdx: nearest,
      bind: { dblclick: () => () => zoom(first, last) },
    },
    hooks: {
      setScale: [(u, key) => { if (key === "x") zoom(u.scales.x.min, u.scales.x.max); }],
      draw: [place],
    },
  }, uPlot.join(panel.lines.map((line) => [line.steps, line.values])), box);
  for (const e of data.events) if (!e.only || e.only === panel.key) u.over.append(marker(e));
  for (const label of u.root.querySelectorAll(".u-series + .u-series .u-label")) {
    label.tabIndex = 0;
    label.title = "Click to hide or to show";
    label.onkeydown = (e) => { if (e.key === "Enter") label.click(); };
  }
  charts.set(box, u);
  u.setScale("x", { min: shown[0], max: shown[1] });
  box.dataset.drawn = panel.lines.length;
}

function marker(e) {
  const line = document.createElement("div");
  line.className = "event";
  Object.assign(line.dataset, { event: e.label, step: e.step, severity: e.severity });
  line.ariaHidden = "true"; // the table says it all
  const link = line.appendChild(document.createElement("a"));
  link.href = `#event-${e.label}`;
  link.tabIndex = -1;
  link.textContent = e.label;
  link.title = e.says;
  link.onmousedown = (event) => event.stopPropagation(); // it is no zoom
  return line;
}

// Markers stand at their steps; a number gives way to the one on its left.
function place(u) {
  if (!u.root.isConnected) return; // a drawing that was under way at a redraw
  let free = -Infinity;
  for (const line of u.over.querySelectorAll(".event")) {
    const step = Number(line.dataset.step);
    line.hidden = step < shown[0] || step > shown[1];
    const left = u.valToPos(step, "x");
    line.style.left = `${left.toFixed(1)}px`;
    if (line.hidden) continue;
    line.classList.toggle("crowded", left < free);
    if (left >= free) free = left + 12 + 7 * line.dataset.event.length;
  }
  u.root.parentElement.dataset.shown = shown.join(" ");
}

function zoom(low, high) {
  if (low == null || (low === shown[0] && high === shown[1])) return;
  shown = [Math.max(low, first), Math.min(high, last)];
  for (const u of charts.values()) u.setScale("x", { min: shown[0], max: shown[1] });
}

function point(step) { // to a step, in all charts
  for (const u of charts.values()) u.setCursor({ left: u.valToPos(step, "x"), top: 0 });
}

function tell(u, at) {
  const values = u.series.slice(1).map((s, n) => `${s.label} ${number(u.data[n + 1][nearest(u, n + 1, at)])}`);
  says.textContent = `Step ${number(u.data[0][at])}: ${values.join(", ")}`;
}

function key(event) {
  const u = charts.get(event.currentTarget);
  if (!u || event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
  const [low, high] = shown;
  const steps = u.data[0];
  const inside = (at) => Math.min(Math.max(at, u.valToIdx(low)), u.valToIdx(high));
  const middle = u.cursor.idx == null ? (low + high) / 2 : steps[u.cursor.idx];
  const stride = Math.max(1, Math.round((u.valToIdx(high) - u.valToIdx(low)) / 50));
  const go = (at) => { point(steps[inside(at)]); tell(u, inside(at)); };
  const show = (from, to) => {
    zoom(Math.max(first, from), Math.min(last, to));
    says.textContent = `Steps ${shown.map((step) => number(Math.round(step))).join(" to ")}`;
  };
  const scale = (by) => show(middle - (middle - low) * by, middle + (high - middle) * by);
  const now = u.cursor.idx ?? u.valToIdx(low);
  const acts = {
    ArrowLeft: () => go(now - (event.shiftKey ? 1 : stride)), ArrowRight: () => go(now + (event.shiftKey ? 1 : stride)),
    Home: () => go(0), End: () => go(steps.length - 1),
    "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2), 0: () => show(first, last),
  };
  if (acts[event.key]) { acts[event.key](); event.preventDefault(); }
}

const seen = (box) => !box.closest("details:not([open])");
function redraw() {
  for (const u of charts.values()) u.destroy();
  charts.clear();
  boxes.filter(seen).forEach(draw);
}

// The theme is the system's until the reader chooses one. A page in a frame may not
// be allowed to remember it.
const themes = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
const button = document.getElementById("theme");
let theme = "system";
try { theme = localStorage.getItem("optaxctl-theme") ?? theme; } catch {}
function wear() {
  root.dataset.theme = theme;
  button.textContent = themes[theme];
  redraw();
}
button.onclick = () => {
  const names = Object.keys(themes);
  theme = names[(names.indexOf(theme) + 1) % names.length];
  try { localStorage.setItem("optaxctl-theme", theme); } catch {}
  wear();
};
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", wear);

for (const box of boxes) {
  box.onkeydown = key;
  new ResizeObserver(() => {
    const u = charts.get(box);
    if (u && box.clientWidth !== u.width) u.setSize({ width: box.clientWidth, height: u.height });
  }).observe(box);
}
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => boxes.filter((box) => seen(box) && !charts.has(box)).forEach(draw));
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-step]");
  if (link) point(Number(link.dataset.step));
});
wear();
root.dataset.ready = charts.size;
})();
