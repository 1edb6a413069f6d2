// The page: its parts put together, what the keys and buttons do, and links to a tick.

const WORDS = json("words");
const LANGUAGES = ["en", "zh"];
let language = "en";

/** A sentence of the page in the language chosen. */
function say(key, values = {}) {
  const text = WORDS[key][LANGUAGES.indexOf(language)];
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

const data = json("data");
const run = new Run(data);
const graphs = {};
const state = { k: run.last, level: data.level, overlay: "grad", node: null, theme: null };
let timer = null;
let stop = -1; // of the tour; -1 is none

const graph = () => graphs[state.level];
const panel = new Panel(byId("panel"), run, choose);
const weights = new Weights(byId("weights"), run, choose);
const light = (id, to) => graph().mark("path", id === null ? null : run.pathFrom(id, to));
const strip = new Strip(byId("strip"), run, data, light, choose);
const stops = tourOf(run);

// -- showing --------------------------------------------------------------------------------------

function go(k, { follow = true } = {}) {
  const before = state.k;
  state.k = Math.max(0, Math.min(run.last, Math.round(k) || 0));
  if (!graph()) return; // the page is still being put together
  const { record, way } = run.at(state.k);
  const moves = state.node === null || (state.k !== before && !byId("keep").checked);
  if (moves) state.node = record ? record.id : run.records.length - 1;
  graph().show(state.k, state.overlay);
  if (record && follow) graph().follow(record.id);
  weights.show(state.k, false);
  strip.show(state.k);
  select(state.node);
  byId("scrub").value = state.k;
  byId("done").style.width = `${(100 * state.k) / Math.max(1, run.last)}%`;
  byId("now").className = way;
  byId("now").textContent = byId("scrub").ariaValueText = sentenceAt(state.k);
  remember();
}

/** What happens at a tick, in one sentence. */
function sentenceAt(k) {
  const { way, record: r } = run.at(k);
  if (way === "start") return say("now_start");
  const facts = { what: `${r.label} #${r.id}`, where: run.where(r) || say("no_step") };
  const n = run[way].length;
  if (way === "forward")
    return say("now_forward", { ...facts, k, n, rule: formula(r), size: brief(r.value?.l2) });
  const terms = r.terms.map((term) => {
    const [source, part] = r.inputs[term.place];
    const which = `${run.records[source].label} #${source}${part < 0 ? "" : `[${part}]`}`;
    return `${which} += ${brief(term.numbers.l2)}`;
  });
  const done = { k: k - run.forward.length, n, size: brief(r.grad.l2), added: terms.join(", ") };
  return say(terms.length ? "now_backward" : "now_leaf", { ...facts, ...done });
}

function select(id) {
  state.node = id;
  graph().point("selected", graph().byRecord[id]);
  panel.show(id, state.k);
}

function choose(id) {
  select(id);
  graph().follow(id);
  remember();
}

let asking = null;

/** Show the graph at another level; it is unpacked when it is first asked for. */
async function setLevel(level) {
  if (!data.levels.includes(level) || (graph() && level === state.level)) return;
  asking = level;
  const holder = document.querySelector(`.level[data-level="${level}"]`);
  if (holder.dataset.packed) holder.replaceChildren(await unpacked(holder.dataset.packed));
  if (asking !== level) return; // another one was asked for meanwhile
  delete holder.dataset.packed;
  state.level = level;
  for (const one of document.querySelectorAll(".level")) one.hidden = one !== holder;
  graphs[level] ??= new Graph(holder.querySelector("svg"), run);
  translatePicture();
  graph().label();
  graph().fit(graph().view === undefined && level === "folded");
  press("levels", level);
  hideKinds();
  search();
  go(state.k);
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const svg = await new Response(stream).text();
  return new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
}

function setOverlay(overlay) {
  if (["none", "value", "grad", "both"].includes(overlay)) state.overlay = overlay;
  press("overlays", state.overlay);
  byId("scale").hidden = state.overlay === "none";
  go(state.k, { follow: false });
}

function setTheme(name) {
  theme = name === "dark" ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
  for (const [n, el] of document.querySelectorAll("#scale i").entries())
    el.style.backgroundColor = normColour(10 ** (n - 6));
  weights.show(state.k, true);
  go(state.k, { follow: false });
}

function setLanguage(name) {
  language = name === "zh" ? "zh" : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const el of document.querySelectorAll("[data-say]")) el.textContent = say(el.dataset.say);
  for (const el of document.querySelectorAll("[data-hint]"))
    el.ariaLabel = el.title = say(el.dataset.hint);
  byId("search").placeholder = say("search");
  byId("facts").textContent = factsOfRun();
  translatePicture();
  for (const one of Object.values(graphs)) one.label();
  weights.show(state.k, true);
  tell();
  go(state.k, { follow: false });
}

function factsOfRun() {
  const times = new Set(run.records.map((r) => r.t).filter((t) => t >= 0)).size;
  const loss = run.records[run.tape.outputs[0]].value?.data?.[0];
  const facts = { t: times, f: run.forward.length, b: run.backward.length, loss: brief(loss) };
  return say("facts", facts) + (data.levels.includes("op") ? "" : ` · ${say("too_many")}`);
}

/** The few whole sentences of the picture itself: "before the steps". */
function translatePicture() {
  for (const el of document.querySelectorAll(".level g.step[data-word]")) {
    const text = el.querySelector("text");
    const [many = ""] = text.textContent.match(/ {2}×.+$/) ?? []; // how many steps it stands for
    text.textContent = say(`picture_${el.dataset.word}`) + many;
  }
}

function press(group, value) {
  for (const button of byId(group).querySelectorAll("button"))
    button.setAttribute("aria-pressed", String(button.value === value));
}

// -- playing, searching, hiding, the tour ---------------------------------------------------------

function play(on) {
  clearInterval(timer);
  const next = () => (state.k < run.last ? go(state.k + 1) : play(false));
  timer = on ? setInterval(next, 1000 / Number(byId("speed").value)) : null;
  if (on && state.k >= run.last) go(0);
  byId("now").setAttribute("aria-live", on ? "off" : "polite"); // nobody can listen that fast
  const button = byId("play");
  button.textContent = on ? "‖" : "▶";
  button.dataset.hint = on ? "pause" : "play";
  button.ariaLabel = button.title = say(button.dataset.hint);
}

function found() {
  const word = byId("search").value.trim().toLowerCase();
  if (!word) return null;
  const words = (r) => [`#${r.id}`, r.label, r.op, r.kind, r.scope, run.signs[r.t]].join(" ");
  const matches = run.records.filter((r) => words(r).toLowerCase().includes(word));
  return new Set(matches.map((r) => r.id));
}

function search() {
  const ids = found();
  graph().mark("found", ids);
  byId("hits").textContent = ids ? String(ids.size) : "";
}

function nextFound() {
  const ids = [...(found() || [])];
  if (ids.length) choose(ids.find((id) => id > state.node) ?? ids[0]);
}

function hideKinds() {
  const boxes = document.querySelectorAll("#kinds input:not(:checked)");
  graph().hide(new Set([...boxes].map((box) => box.value)));
}

/** The tour's caption; the next stop, or the end of it. */
function tour(next) {
  stop = next >= 0 && next < stops.length ? next : -1;
  if (stop >= 0) go(stops[stop][1]);
  tell();
}

function tell() {
  byId("tour").hidden = stop < 0;
  if (stop < 0) return;
  byId("caption").textContent = say(`tour_${stops[stop][0]}`);
  byId("stop").textContent = `${stop + 1} / ${stops.length}`;
}

let off = null; // what was seen before it was printed

/** Paper is white, and shows the whole picture. */
function onPaper(now) {
  if (now) off = { theme, view: graph().view };
  setTheme(now ? "light" : off.theme);
  if (now) graph().fit(true);
  else graph().look(off.view);
}

// -- files and links ------------------------------------------------------------------------------

function download(name, text, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    byId("now").textContent = say("copied");
  } catch {
    download("tape.json", text, "application/json"); // where a page may not copy
  }
}

let waiting = null;

/** The address tells what is seen; not more often than a browser allows. */
function remember() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const facts = { k: state.k, level: state.level, overlay: state.overlay, lang: language };
    if (state.theme) facts.theme = state.theme;
    try {
      history.replaceState(null, "", `#${new URLSearchParams(facts)}`);
    } catch {} // within a notebook there is no address
  }, 250);
}

/** What the address asks for: `#k=57` or `?k=57`, and lang, theme, level, overlay. */
function asked() {
  const { search, hash } = location;
  return Object.fromEntries([search, hash.slice(1)].flatMap((s) => [...new URLSearchParams(s)]));
}

function follow({ k, level, overlay, lang, theme: dress }) {
  if (dress) setTheme((state.theme = dress));
  if (lang) setLanguage(lang);
  if (overlay) setOverlay(overlay);
  if (k !== undefined && Number(k) !== state.k) go(Number(k));
  if (level) setLevel(level);
}

// -- what the hands do ----------------------------------------------------------------------------

const KEYS = {
  ArrowRight: () => go(state.k + 1),
  ArrowLeft: () => go(state.k - 1),
  Home: () => go(0),
  End: () => go(run.last),
  " ": () => play(timer === null),
  "+": () => graph().zoom(0.8),
  "-": () => graph().zoom(1.25),
  0: () => graph().fit(true),
  "/": () => byId("search").focus(),
  Escape: () => tour(-1),
};

function pressed(event) {
  const own = [" ", "Enter"].includes(event.key) ? ", button, summary, input[type=checkbox]" : "";
  const taken = event.target.matches(`input[type=search], select${own}`);
  if (taken || event.ctrlKey || event.metaKey || event.altKey) return;
  const node = event.target.closest(".node");
  if (node && ["Enter", "ArrowUp", "ArrowDown"].includes(event.key)) walkFrom(event);
  else if (KEYS[event.key]) {
    KEYS[event.key]();
    event.preventDefault();
  }
}

/** From a node in the picture: up to who reads it, down to what it reads. */
function walkFrom(event) {
  const id = state.node;
  const ways = { ArrowUp: run.readers[id][0], ArrowDown: run.records[id].inputs[0]?.[0] };
  const next = event.key === "Enter" ? id : ways[event.key];
  if (next === undefined) return;
  choose(next);
  graph().byRecord[next][0]?.el.focus();
  event.preventDefault();
}

function pick(event) {
  const node = graph().nodes.find(({ el }) => el.contains(event.target));
  if (node?.ids.length) select(node.ids.at(-1));
}

function wire() {
  const on = (id, act, event = "click") => byId(id).addEventListener(event, act);
  on("scrub", () => go(Number(byId("scrub").value)), "input");
  on("speed", () => timer !== null && play(true), "change");
  on("levels", (e) => e.target.value && setLevel(e.target.value));
  on("overlays", (e) => e.target.value && setOverlay(e.target.value));
  on("language", () => setLanguage(language === "en" ? "zh" : "en"));
  on("theme", () => setTheme((state.theme = theme === "dark" ? "light" : "dark")));
  on("search", search, "input");
  on("search", (e) => e.key === "Enter" && nextFound(), "keydown");
  on("kinds", hideKinds, "change");
  on("save", () => {
    onPaper(true); // a file is light, as paper is
    download("graph.svg", graph().file(), "image/svg+xml");
    onPaper(false);
  });
  on("json", () => download("tape.json", JSON.stringify(data.tape), "application/json"));
  on("copy", () => copy(JSON.stringify(data.tape)));
  on("guide", () => tour(stop < 0 ? 0 : -1));
  on("next", () => tour(stop + 1));
  on("previous", () => tour(Math.max(0, stop - 1)));
  on("picture", pick);
  for (const el of document.querySelectorAll("[data-key]"))
    el.addEventListener("click", KEYS[el.dataset.key]);
  document.addEventListener("keydown", pressed);
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("nav details"))
      if (!menu.contains(event.target)) menu.open = false;
  });
  addEventListener("hashchange", () => follow(asked()));
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
  moveable(byId("picture"), graph);
}

function begin() {
  byId("scrub").max = run.last;
  marks(byId("marks"), run);
  wire();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const dress = () => state.theme || setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", dress);
  dress();
  setLanguage(navigator.language.slice(0, 2));
  setOverlay(state.overlay);
  setLevel(data.level).then(() => follow(asked()));
}

begin();
window.explained = { run, state, go, graph, examples };
