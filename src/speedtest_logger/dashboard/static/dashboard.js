// What pages do beyond HTML: times on the viewer's clocks, charts, and news as they come.
// Without this file every page still has its figures, in UTC.

const SECOND = 1000;
const $ = (query, root = document) => root.querySelector(query);
const $$ = (query, root = document) => [...root.querySelectorAll(query)];

// ---- times -----------------------------------------------------------------------------------------------------

const format = (options) => new Intl.DateTimeFormat(navigator.language, {hourCycle: "h23", ...options});
const MOMENT = format({day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit"});
const DAY_CLOCK = format({weekday: "short", hour: "2-digit", minute: "2-digit"});
const CLOCK = format({hour: "2-digit", minute: "2-digit"});
const two = (number) => String(number).padStart(2, "0");

/** A length of time (s) in its two largest units, as the server writes it. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [minutes, hours, days] = [60, 3600, 86400].map((unit) => Math.floor(whole / unit));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${minutes} min`;
  if (whole < 86400) return `${hours} h` + (minutes % 60 ? ` ${minutes % 60} min` : "");
  return `${days} d` + (hours % 24 ? ` ${hours % 24} h` : "");
}

function countdown(seconds) {
  const left = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(left / 3600), Math.floor(left / 60)];
  return hours ? `${hours}:${two(minutes % 60)}:${two(left % 60)}` : `${minutes}:${two(left % 60)}`;
}

const SAYS = {
  moment: (at) => MOMENT.format(at),
  clock: (at, now) => (now - at < 20 * 3600 * SECOND ? CLOCK : DAY_CLOCK).format(at),
  hour: (at) => two(at.getHours()),
  ago: (at, now) => `${duration((now - at) / SECOND)} ago`,
  until: (at, now) => (at > now ? countdown((at - now) / SECOND) : "now"),
};

function showTimes(root, forms = Object.keys(SAYS)) {
  const now = Date.now();
  for (const form of forms) {
    for (const each of $$(`time[data-form=${form}]`, root)) {
      const said = SAYS[form](new Date(each.dateTime), now);
      if (each.textContent !== said) each.textContent = said;
    }
  }
}

const sayZone = (own, days) => ` · times are those of ${own}` + (days === own ? "" : `, days those of ${days}`);

/** The tip of a cell, whose time is UTC, on the viewer's clocks: there are thousands, so not before one is looked at. */
function retitle(element) {
  const [, at, rest] = element.title?.match(/^(\d+ \w{3} \d{4} \d\d:\d\d UTC)(:.*)/) ?? [];
  if (at && element.matches(".cell, .tick")) element.title = MOMENT.format(Date.parse(at)) + rest;
}

// ---- news ------------------------------------------------------------------------------------------------------

let cursor = null;
let waiting = null;

/** Fetch this page again and put in the parts that are other ones now; open details, focus and ticks stay. */
async function refresh() {
  const answer = await fetch(location.href, {headers: {Accept: "text/html"}});
  if (answer.redirected) return location.reload(); // the session has ended
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of $$("[data-part]")) {
    const part = $(`[data-part="${CSS.escape(old.dataset.part)}"]`, fresh);
    if (!part || part.innerHTML === old.dataset.source) continue;
    old.dataset.source = part.innerHTML;
    const open = $$("details[open][id]", old).map((each) => each.id);
    const ticked = $$("input:checked", old).map((each) => each.value);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const path = focused && (focused.id ? `#${CSS.escape(focused.id)}` : focused.getAttribute("href") && `[href="${CSS.escape(focused.getAttribute("href"))}"]`);
    const scrolled = $$(".scroll", old).map((each) => each.scrollLeft);
    old.replaceChildren(...part.childNodes);
    for (const id of open) $(`#${CSS.escape(id)}`, old)?.setAttribute("open", "");
    for (const box of $$("input[type=checkbox]", old)) box.checked = ticked.includes(box.value);
    $$(".scroll", old).forEach((each, place) => (each.scrollLeft = scrolled[place] ?? 0));
    dress(old);
    if (path) $(path, old)?.focus({preventScroll: true});
  }
  document.dispatchEvent(new Event("refreshed"));
}

/** Refresh soon, once, however much news there is. */
function refreshSoon(seconds = 1.5) {
  waiting ??= setTimeout(async () => {
    try { await refresh(); } catch { /* the connection says so itself */ } finally { waiting = null; }
  }, seconds * SECOND);
}

function listen() {
  const word = $("#live");
  if (!word) return;
  const say = (text, on) => {
    word.hidden = false;
    word.classList.toggle("on", on);
    if (word.textContent !== text) word.textContent = text;
  };
  let tries = 0;
  const connect = () => {
    const address = new URL("/ws", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (cursor !== null) address.searchParams.set("since", cursor);
    const socket = new WebSocket(address);
    let heard = setTimeout(() => socket.close(), 90 * SECOND); // the server pings more often than that
    socket.onmessage = (event) => {
      clearTimeout(heard);
      heard = setTimeout(() => socket.close(), 90 * SECOND);
      take(JSON.parse(event.data), () => { say("Live", true); if (tries) refreshSoon(0); tries = 0; });
    };
    socket.onclose = () => {
      clearTimeout(heard);
      say("Not live: connecting again", false);
      const delay = Math.min(30, 2 ** tries++) * (0.7 + 0.6 * Math.random());
      setTimeout(connect, delay * SECOND);
    };
  };
  connect();
}

function take(message, hello) {
  if (message.cursor !== undefined) cursor = message.cursor;
  if (message.type === "hello") return hello();
  if (message.type === "reset") return refreshSoon(0);
  if (message.type !== "record" && message.type !== "status") return;
  const word = $("#live");
  word.classList.remove("beat");
  requestAnimationFrame(() => word.classList.add("beat"));
  for (const row of $$("[data-location]")) {
    if (![message.record, ...(message.records ?? [])].some((each) => each?.location === row.dataset.location)) continue;
    row.classList.remove("fresh");
    requestAnimationFrame(() => row.classList.add("fresh"));
  }
  refreshSoon();
}

// ---- strips of slots, and a year's days: one stop of the tab key, arrows inside --------------------------------------

const STEPS = {ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity};

function walk(event) {
  const year = event.target.closest?.("table.year");
  const group = year ?? event.target.closest?.(".strip");
  const cells = group ? $$(year ? "td a" : "a.cell", group) : [];
  const place = cells.indexOf(event.target);
  if (place < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  const step = STEPS[event.key];
  const next = step
    ? cells[Math.max(0, Math.min(cells.length - 1, place + step))]
    : year && besides(event.target, {ArrowDown: 1, ArrowUp: -1}[event.key]);
  if (!next) return;
  stopAt(cells, next);
  next.focus();
  event.preventDefault();
}

// The same day of another month, or that month's last one.
function besides(day, months) {
  const row = day.closest("tr");
  const other = months && row.parentElement.rows[row.sectionRowIndex + months];
  const days = other ? $$("td a", other) : [];
  return days[Math.min(days.length, Number(day.parentElement.dataset.day)) - 1];
}

function stopAt(cells, one) {
  for (const cell of cells) cell.tabIndex = cell === one ? 0 : -1;
}

// ---- charts ----------------------------------------------------------------------------------------------------

const DASHES = {upload: [6, 3], download_latency: [8, 3], upload_latency: [4, 3], jitter: [2, 3]};
const OF_NODES = [[9, 4], [2, 2], [8, 3, 2, 3], [14, 3]];
const COLOURS = {latency: "delay", download_latency: "download", upload_latency: "upload"};
const CHARTS = {
  speed: {names: ["download", "upload"], unit: 1e6, compared: ["download", "upload"]},
  delay: {names: ["latency", "download_latency", "upload_latency", "jitter", "loss"], unit: 1, compared: ["latency"]},
};
const charts = new Map();
let columns = null; // of the line
const ofNodes = new Map();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const chartData = () => JSON.parse($("#chart-data").textContent);
/** What is drawn over the line: nodes of its own that are ticked, or other lines that the page is about. */
const chosen = () => (chartData().others ?? $$("#nodes input:checked").map((box) => box.value)).slice(0, OF_NODES.length);
const seriesOf = (name) => series(chartData().others ? {location: name} : {node: name});

/** Three digits that count, a dash where there is none: as the server writes numbers. */
export function number(value) {
  if (value === null || value === undefined) return "—";
  const size = Math.abs(value);
  const digits = size >= 99.95 || value === 0 ? 0 : size >= 9.995 ? 1 : 2;
  return value.toLocaleString("en", {minimumFractionDigits: digits, maximumFractionDigits: digits});
}

async function series(query) {
  const data = chartData();
  const asked = new URLSearchParams({start: data.start, end: data.end, ...query});
  const answer = await fetch(`${data.series ?? "/api/v1/series"}?${asked}`, {headers: {Accept: "application/json"}});
  if (!answer.ok) throw new Error(`the series could not be had: ${answer.status}`);
  return answer.json();
}

async function load() {
  const data = chartData();
  columns = await series({location: data.location});
  await Promise.all(chosen().map(async (node) => ofNodes.set(node, await seriesOf(node))));
  draw();
}

/** A node's column at the line's times: its own times differ where each test is a point. */
function aligned(all, other, name) {
  if (!other?.values[name]) return null;
  const found = new Map(other.at.map((at, place) => [at, other.values[name][place]]));
  return all.map((at) => found.get(at));
}

function table(kind, data) {
  const {unit, compared} = CHARTS[kind];
  const names = data.others ? compared : CHARTS[kind].names;
  const nodes = chosen().filter((node) => ofNodes.has(node));
  const times = new Set(columns.at);
  for (const node of nodes) for (const at of ofNodes.get(node).at) times.add(at);
  const all = [...times].sort((one, other) => one - other);
  const rows = [all];
  const lines = [{}];
  const bands = [];
  const add = (values, line) => { rows.push(values.map((value) => (value === null || value === undefined ? value : value / unit))); lines.push(line); };
  const own = (name) => aligned(all, columns, name);
  for (const name of names) {
    if (!columns.values[name]) continue;
    const stroke = colour(COLOURS[name] ?? name);
    const banded = columns.grain !== "test" && own(`${name}_low`) && !["jitter", "loss", "download_latency", "upload_latency"].includes(name);
    if (banded) {
      for (const end of ["_high", "_low"]) add(own(name + end), {scale: "y", width: 0, points: {show: false}});
      bands.push({series: [rows.length - 2, rows.length - 1], fill: stroke + "2e"});
    }
    const bars = name === "loss" && {scale: "%", paths: uPlot.paths.bars({size: [0.7, 6]}), fill: stroke + "80", width: 0};
    // single tests of several nodes are points: a curve through nodes that differ would show what no line did
    const dots = columns.grain === "test" && data.several && {paths: () => null, points: {show: true, size: 4.5, width: 1, stroke, fill: name === "upload" ? colour("paper") : stroke}};
    add(own(name), {name, stroke, scale: "y", width: name in DASHES && name !== "upload" ? 1.3 : 2, dash: DASHES[name], spanGaps: false, points: {size: 4, show: pointsOf}, ...dots, ...bars});
  }
  nodes.forEach((node, place) => {
    for (const name of compared) {
      const values = aligned(all, ofNodes.get(node), name);
      if (values) add(values, {name: `${name} ${place}`, stroke: colour(COLOURS[name] ?? name), scale: "y", width: 1.3, dash: OF_NODES[place], points: {show: false}});
    }
  });
  return {rows, lines, bands, plan: kind === "speed" ? [data.plan.download, data.plan.upload].map((each) => each && each / unit) : []};
}

/** Show points only where a value stands alone, so that it is seen at all. */
function pointsOf(u, place) {
  const values = u.data[place];
  return values.some((value, at) => value != null && values[at - 1] == null && values[at + 1] == null);
}

function shade(u, data) {
  const {ctx, bbox} = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.fillStyle = colour("failed");
  // one path each: where outages of several nodes lie over one another, the shade is no darker
  for (const [opacity, height] of [[0.16, bbox.height], [0.9, 3 * devicePixelRatio]]) {
    ctx.globalAlpha = opacity;
    ctx.beginPath();
    for (const each of data.outages) {
      const left = u.valToPos(each.start, "x", true);
      const right = u.valToPos(each.until ?? Date.now() / SECOND, "x", true);
      ctx.rect(left, bbox.top, Math.max(right - left, 2), height);
    }
    ctx.fill();
  }
  ctx.restore();
}

function overlay(u, data, plan) {
  const {ctx, bbox} = u;
  const dot = devicePixelRatio;
  ctx.save();
  ctx.lineWidth = dot;
  ctx.font = `${11 * dot}px system-ui, sans-serif`;
  ctx.strokeStyle = ctx.fillStyle = colour("plan");
  ctx.setLineDash([2 * dot, 3 * dot]);
  plan.forEach((value, place) => {
    if (!value) return;
    const y = Math.round(u.valToPos(value, "y", true));
    ctx.strokeStyle = colour(place ? "upload" : "download");
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  });
  ctx.setLineDash([]);
  ctx.textAlign = "left";
  for (const note of data.notes ?? []) {
    const x = Math.round(u.valToPos(note.at, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = ctx.fillStyle = colour("ink");
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(note.text.slice(0, 40), x + 4 * dot, bbox.top + 14 * dot);
  }
  failures(u, ctx, bbox, dot);
  ctx.restore();
}

/** A cross on the floor of the chart for each time at which a test failed: never a zero, and never nothing. */
function failures(u, ctx, bbox, dot) {
  ctx.strokeStyle = colour("failed");
  ctx.lineWidth = 1.6 * dot;
  const floor = bbox.top + bbox.height - 5 * dot;
  ctx.beginPath();
  columns.failed.forEach((count, place) => {
    if (!count) return;
    const x = u.valToPos(columns.at[place], "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) return;
    for (const way of [-1, 1]) { ctx.moveTo(x - 3 * dot, floor - 3 * dot * way); ctx.lineTo(x + 3 * dot, floor + 3 * dot * way); }
  });
  ctx.stroke();
}

function readout(u, figure, lines, data) {
  const place = u.cursor.idx;
  const known = place !== null && place !== undefined;
  lines.forEach((line, at) => {
    const output = line.name && $(`[data-of="${line.name}"]`, figure);
    if (output) output.textContent = known ? number(u.data[at][place]) : "";
  });
  const moment = known ? u.data[0][place] : null;
  const out = known && data.outages.find((each) => each.start <= moment && moment < (each.until ?? Infinity));
  const output = $('[data-of="outage"]', figure);
  if (output) output.textContent = out ? `${out.why} (${out.node})` : "";
  const when = $(".when", figure);
  if (when) when.textContent = known ? (columns.grain === "day" ? format({dateStyle: "medium"}) : MOMENT).format(moment * SECOND) : "";
}

function erase(kind) {
  charts.get(kind)?.destroy();
  charts.delete(kind);
}

function draw() {
  const data = {...chartData(), notes: chartData().notes ?? columns.notes};
  const sync = uPlot.sync("line");
  for (const figure of $$("[data-chart]")) {
    const kind = figure.dataset.chart;
    const place = $(".plot", figure);
    erase(kind);
    place.replaceChildren();
    const {rows, lines, bands, plan} = table(kind, data);
    const empty = rows.slice(1).every((values) => values.every((value) => value == null));
    keysOfNodes(figure, kind);
    if (empty && !columns.failed.some(Boolean)) {
      const said = document.createElement("p");
      said.textContent = "Nothing was measured in this period.";
      place.append(said);
      continue;
    }
    const axis = {stroke: colour("soft"), font: "12px system-ui, sans-serif", grid: {stroke: colour("rule"), width: 1}, ticks: {show: false}};
    const loss = lines.some((line, at) => line.name === "loss" && rows[at].some((value) => value));
    const top = Math.max(...plan.filter(Boolean), 0);
    const from = Date.parse(data.start) / SECOND;
    const to = Date.parse(data.end) / SECOND;
    const chart = new uPlot({
      width: place.clientWidth, height: place.clientHeight, padding: [8, loss ? 0 : 16, 0, 0], legend: {show: false},
      series: lines, bands,
      scales: {
        x: {range: () => [from, to]},
        y: {range: (_, low, high) => [0, Math.max(high ?? 0, top, 1) * 1.06]},
        "%": {range: (_, low, high) => [0, Math.max(high ?? 0, 5)]},
      },
      axes: [
        {...axis, space: 70, size: 30, values: dates},
        {...axis, scale: "y", size: 46, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString("en"))},
        {...axis, scale: "%", side: 1, size: 38, show: loss, grid: {show: false}, values: (_, ticks) => ticks.map((tick) => `${tick} %`)},
      ],
      cursor: {sync: {key: sync.key}, drag: {x: true, y: false, setScale: false}, y: false, points: {size: 6}},
      hooks: {
        drawClear: [(u) => shade(u, data)],
        draw: [(u) => overlay(u, data, plan)],
        setCursor: [(u) => readout(u, figure, lines, data)],
        setSelect: [(u) => zoom(u)],
      },
    }, rows, place);
    charts.set(kind, chart);
  }
}

/** Ticks of the time axis on the viewer's clocks: the day where it begins, else the time. */
function dates(u, ticks, _, __, step) {
  const day = format({day: "numeric", month: "short"});
  const month = format({month: "short", year: "numeric"});
  return ticks.map((tick) => {
    const at = new Date(tick * SECOND);
    if (step >= 28 * 86400) return month.format(at);
    return step >= 86400 || (at.getHours() === 0 && at.getMinutes() === 0) ? day.format(at) : CLOCK.format(at);
  });
}

/** The period that was marked becomes the page's. */
function zoom(u) {
  if (u.select.width < 8) return;
  const iso = (x) => new Date(Math.round(u.posToVal(x, "x")) * SECOND).toISOString().replace(".000", "");
  const query = new URLSearchParams({start: iso(u.select.left), end: iso(u.select.left + u.select.width)});
  for (const node of chosen()) query.append("node", node);
  location.search = query;
}

function keysOfNodes(figure, kind) {
  const keys = $(".keys", figure);
  for (const old of $$(".of-node", keys)) old.remove();
  chosen().forEach((node, place) => {
    const item = document.createElement("li");
    item.className = "of-node";
    const mark = $(".swatch", keys).cloneNode(true);
    mark.setAttribute("class", `swatch n${place}`);
    item.append(mark, `${node} `, ...CHARTS[kind].compared.flatMap((name) => {
      const output = document.createElement("output");
      output.dataset.of = `${name} ${place}`;
      output.className = "figure";
      return [output, " "];
    }));
    keys.append(item);
  });
}

async function choose() {
  const query = new URLSearchParams(location.search);
  query.delete("node");
  for (const node of chosen()) query.append("node", node);
  history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
  const missing = chosen().filter((node) => !ofNodes.has(node));
  await Promise.all(missing.map(async (node) => ofNodes.set(node, await seriesOf(node))));
  draw();
}

function startCharts() {
  if (!$("[data-chart]") || !window.uPlot) return;
  for (const figure of $$("[data-chart]")) {
    const when = document.createElement("li");
    when.className = "when";
    $(".keys", figure).append(when);
  }
  const named = new URLSearchParams(location.search).getAll("node");
  for (const box of $$("#nodes input")) box.checked = named.includes(box.value);
  const again = () => columns && draw();
  const fail = (error, kept = new Map()) => {
    for (const figure of $$("[data-chart]")) {
      if (kept.has(figure.dataset.chart)) continue;
      const said = document.createElement("p");
      said.textContent = `The chart could not be drawn: ${error.message}. The table has its figures.`;
      erase(figure.dataset.chart);
      $(".plot", figure).replaceChildren(said);
    }
  };
  const loadAgain = () => load().catch((error) => fail(error, charts)); // what is drawn stays when its news cannot be had
  document.addEventListener("change", (event) => event.target.closest("#nodes input") && choose().catch(fail));
  document.addEventListener("refreshed", () => { if (chartData().follows) { ofNodes.clear(); loadAgain(); } });
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", again);
  new ResizeObserver(() => {
    for (const chart of charts.values()) {
      const place = chart.root.parentElement;
      if (place.clientWidth !== chart.width || place.clientHeight !== chart.height) chart.setSize({width: place.clientWidth, height: place.clientHeight});
    }
  }).observe($("#main"));
  load().catch(fail);
}

// ---- probes: a small chart for each target, median with a band up to the 90th percentile, and lost ones below --------

let probeCharts = [];

function drawProbes() {
  for (const chart of probeCharts) chart.destroy();
  probeCharts = [];
  const place = $(".probes");
  if (!place || !window.uPlot) return;
  place.hidden = false;
  place.replaceChildren();
  const {start, end, probes} = chartData();
  const range = [Date.parse(start) / SECOND, Date.parse(end) / SECOND];
  const axis = {stroke: colour("soft"), font: "12px system-ui, sans-serif", grid: {stroke: colour("rule"), width: 1}, ticks: {show: false}};
  const stroke = colour("delay");
  for (const each of probes) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const plot = document.createElement("div");
    caption.textContent = `${each.target} (${each.probe}, ${each.node})`;
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${caption.textContent} over time; the table has its figures`);
    figure.append(caption, plot);
    place.append(figure);
    probeCharts.push(new uPlot({
      width: place.clientWidth, height: 130, padding: [6, 16, 0, 0], legend: {show: false}, cursor: {show: false},
      series: [
        {},
        {scale: "y", width: 0, points: {show: false}},
        {scale: "y", stroke, width: 1.5, points: {size: 3, show: pointsOf}},
        {scale: "%", paths: uPlot.paths.bars({size: [0.9, 6]}), fill: colour("failed"), width: 0, points: {show: false}},
      ],
      bands: [{series: [1, 2], fill: stroke + "2e"}],
      scales: {
        x: {range: () => range},
        y: {range: (_, low, high) => [0, Math.max(high ?? 0, 1) * 1.06]},
        "%": {range: () => [0, 400]}, // the lowest quarter of the chart
      },
      axes: [{...axis, space: 70, size: 30, values: dates}, {...axis, scale: "y", size: 46}],
      hooks: {drawClear: [(u) => shade(u, {outages: each.failed.map(([from, until]) => ({start: from, until}))})]},
    }, [each.at, each.p90, each.median, each.loss.map((value) => value || null)], plot));
  }
}

// ---- all pages ---------------------------------------------------------------------------------------------------

function dress(root) {
  for (const each of $$(".toggle", root)) each.hidden = false;
  showTimes(root);
}

dress(document);
for (const part of $$("[data-part]")) part.dataset.source = "";
const zone = $(".zone");
if (zone) zone.textContent = sayZone(Intl.DateTimeFormat().resolvedOptions().timeZone, zone.dataset.days);
for (const event of ["pointerover", "focusin"]) document.addEventListener(event, ({target}) => retitle(target));
for (const year of $$("table.year")) stopAt($$("td a", year), $$("td a", year).at(-1)); // without this each day is a stop
document.addEventListener("keydown", walk);
setInterval(() => document.hidden || showTimes(document, ["ago", "until"]), SECOND);
startCharts();
drawProbes();
document.addEventListener("refreshed", drawProbes);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawProbes);
listen();
