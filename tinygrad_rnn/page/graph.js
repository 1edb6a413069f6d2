// The graph: the library's own picture, lit by what is known at a tick; it can be moved and zoomed.

const SVG = "http://www.w3.org/2000/svg";
const idsOf = (text) => (text || "").split(" ").filter(Boolean).map(Number);

/** Attributes of an element of the picture. */
function set(el, facts) {
  for (const [key, value] of Object.entries(facts)) el.setAttribute(key, value);
  return el;
}

class Graph {
  constructor(svg, run) {
    Object.assign(this, { svg, run, pointed: {} });
    set(svg, { role: "group", "aria-label": say("graph") }); // its nodes are things of their own
    for (const name of ["width", "height"]) svg.removeAttribute(name);
    const all = (what) => [...svg.querySelectorAll(what)];
    for (const el of all("g.step[data-t]")) this.readFrame(el);
    this.nodes = all("g.node").map((el) => this.readNode(el));
    for (const node of this.nodes) node.size ??= node.box && this.addSize(node);
    this.edges = all("g.edge").map((el) => this.readEdge(el));
    this.byRecord = run.records.map(({ id }) => this.nodes.filter((node) => node.ids.includes(id)));
    this.into = run.records.map(({ id }) => this.edges.filter((edge) => edge.target === id));
    this.home = bounds(all("g.step > rect, g.node > rect").map(boxOf));
  }

  /** What was read at a step, beside its number; where all steps are one, it has none. */
  readFrame(el) {
    const sign = this.run.signs[el.dataset.t];
    if (sign && !el.dataset.every) el.querySelector("text").textContent += `   ${sign}`;
  }

  readNode(el) {
    const rect = el.querySelector("rect");
    const box = rect ? boxOf(rect) : null;
    const { ids, exits, t } = el.dataset; // a shared weight has a chip in each of the steps
    const [, kind] = el.classList;
    const step = kind === "parameter" && t !== undefined ? Number(t) : null;
    const node = { el, rect, box, kind, ids: idsOf(ids), exits: idsOf(exits ?? ids), step };
    node.ticks = this.ticksOf(node);
    node.size = el.querySelector("text.grad"); // from now on, what is known at a tick
    node.size?.classList.add("number");
    set(el, { tabindex: -1, role: "button" });
    return node;
  }

  /** Room for a number at a box that has no such line: below, or where another box is, beside. */
  addSize({ el, box }) {
    const under = ({ box: b }) => b && b.y > box.y && b.y < box.y + box.h + 9;
    const near = ({ box: b }) => Math.abs(b.x - box.x) < box.w;
    const beside = this.nodes.some((n) => under(n) && near(n));
    const [x, y] = beside ? [-3, box.h / 2 + 3] : [box.w / 2, box.h + 8.5];
    const words = { class: "size", "text-anchor": beside ? "end" : "middle" };
    const text = document.createElementNS(SVG, "text");
    el.append(set(text, { ...words, x: box.x + x, y: box.y + y }));
    return text;
  }

  readEdge(el) {
    const [source, target, place] = ["source", "target", "place"].map((k) => Number(el.dataset[k]));
    const ticks = [this.run.forwardAt[target], this.run.backwardAt[target]];
    return { el, path: el.querySelector("path"), source, target, place, ticks };
  }

  // -- what is lit --------------------------------------------------------------------------------

  /** Show a tick: touch only what has changed since the one that was shown. */
  show(k, overlay) {
    const dress = `${overlay} ${theme}`;
    const all = dress !== this.dress;
    this.dress = dress;
    for (const thing of [...this.nodes, ...this.edges]) {
      const stage = passed(thing.ticks, k);
      if (stage === thing.stage && !all) continue;
      thing.stage = stage;
      if (thing.ids) this.lightNode(thing, k, overlay);
      else this.lightEdge(thing, k, overlay);
    }
    const { record } = this.run.at(k);
    this.point("now", record ? [...this.byRecord[record.id], ...this.into[record.id]] : []);
  }

  /** The ticks at which a node changes: its records are computed, terms come, it is done. */
  ticksOf({ ids, step }) {
    const { run } = this;
    const here = (a) => step === null || run.records[a.from].t === step;
    return ids.flatMap((id) => [
      ...[run.forwardAt[id], run.backwardAt[id]],
      ...run.arrivals[id].filter(here).map((a) => a.tick),
    ]);
  }

  /** Point at some things, and no longer at what was pointed at before: "now", or "selected". */
  point(word, things) {
    const dress = (on) => ({ el }) => {
      el.classList.toggle(word, on);
      if (word === "selected") el.setAttribute("tabindex", on ? 0 : -1);
    };
    this.pointed[word]?.forEach(dress(false));
    things.forEach(dress(true));
    this.pointed[word] = things;
  }

  setState({ el }, state) {
    el.classList.remove("waiting", "known", "partly", "done");
    el.classList.add(state);
  }

  nodeState(node, k) {
    const { run } = this;
    if (node.ids.every((id) => run.doneAt(id) <= k)) return "done";
    if (!node.ids.some((id) => run.forwardAt[id] <= k)) return "waiting";
    return node.ids.some((id) => run.gradientAt(id, k, node.step)) ? "partly" : "known";
  }

  /** The norms a node shows: of all that others read of it; of several steps the largest. */
  norms({ exits, step }, k) {
    const { records, forwardAt } = this.run;
    const joint = (known) => {
      const steps = {};
      for (const id of exits) {
        const l2 = known(id)?.l2;
        if (l2 != null) (steps[records[id].t] ??= []).push(l2);
      }
      const larger = (p, q) => (isLoud(p) || p > q ? p : q);
      return Object.values(steps).map(norm).reduce((p, q) => (p === null ? q : larger(p, q)), null);
    };
    const value = joint((id) => forwardAt[id] <= k && records[id].value);
    return { value, grad: joint((id) => this.run.gradientAt(id, k, step)) };
  }

  lightNode(node, k, overlay) {
    this.setState(node, this.nodeState(node, k));
    if (!node.rect) return;
    const { value, grad } = this.norms(node, k);
    const line = overlay === "both" && grad !== null;
    const size = { none: null, value, grad, both: grad ?? value }[overlay];
    const inside = { none: null, value, grad, both: value }[overlay];
    node.rect.style.fill = overlay === "none" ? "" : normColour(inside);
    node.el.classList.toggle("deep", isDeep(inside));
    node.rect.style.stroke = line ? lineColour(grad) : "";
    node.rect.style.strokeWidth = line ? String(1.5 + normWidth(grad)) : "";
    const isGrad = overlay === "grad" || line;  // not by comparing: NaN is not NaN
    const tells = node.size.classList.contains("size") ? "" : isGrad ? "‖g‖ " : "‖y‖ ";
    node.size.textContent = size === null ? "" : tells + brief(size);
    node.el.classList.toggle("bad", isLoud(inside));
    node.size.classList.toggle("loud", isLoud(size));
  }

  lightEdge(edge, k, overlay) {
    const came = this.run.backwardAt[edge.target] <= k;
    this.setState(edge, came ? "done" : this.run.forwardAt[edge.target] <= k ? "known" : "waiting");
    if (!edge.path) return;
    const shown = came && (overlay === "grad" || overlay === "both");
    const terms = shown ? (this.run.records[edge.target]?.terms ?? []) : [];
    const l2 = terms.find((x) => x.place === edge.place)?.numbers.l2;
    const told = l2 !== undefined;
    edge.el.classList.toggle("back", told);
    edge.path.style.stroke = !told ? "" : isLoud(l2) ? "#d000d0" : lineColour(l2);
    edge.path.style.strokeWidth = told ? String(normWidth(l2)) : "";
  }

  /** Point out some records: what is on a path, or what was searched for. */
  mark(word, ids) {
    this.svg.classList.toggle(`has-${word}`, Boolean(ids));
    const has = (id) => Boolean(ids?.has(id));
    for (const node of this.nodes) node.el.classList.toggle(word, node.ids.some(has));
    for (const e of this.edges) e.el.classList.toggle(word, has(e.source) && has(e.target));
  }

  /** Hide the nodes of some kinds, and the edges at them. */
  hide(kinds) {
    for (const node of this.nodes) node.el.classList.toggle("hidden", kinds.has(node.kind));
    const hides = (e) => [e.source, e.target].some((id) => kinds.has(this.run.records[id]?.kind));
    for (const e of this.edges) e.el.classList.toggle("hidden", hides(e));
  }

  /** The words that a screen reader says of each node. */
  label() {
    for (const { el, ids } of this.nodes) {
      const r = this.run.records[ids.at(-1)];
      const words = r && [`${r.label} ${shapeWords(r)}`, this.run.where(r)].filter(Boolean);
      el.ariaLabel = r ? words.join(", ") : "…";
    }
  }

  // -- where one looks ----------------------------------------------------------------------------

  look({ x, y, w, h }) {
    this.view = { x, y, w, h };
    this.svg.setAttribute("viewBox", `${x} ${y} ${w} ${h}`);
  }

  /** The whole picture, or as much of it as can be read. */
  fit(whole = true) {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width || !height) return;
    const { x, y, w, h } = this.home;
    const scale = whole ? Math.min(width / w, height / h) : Math.max(0.62, height / h);
    const [wide, high] = [width, height].map((size) => size / Math.min(scale, 1.15));
    const left = whole || wide >= w ? x + (w - wide) / 2 : x;
    this.look({ x: left, y: y + (h - high) / 2, w: wide, h: high });
  }

  zoom(factor, at = null) {
    const { x, y, w, h } = this.view;
    const wide = Math.min(Math.max(w * factor, 60), this.home.w * 4);
    const real = wide / w;
    const point = at || { x: x + w / 2, y: y + h / 2 };
    const moved = (p, from) => p - (p - from) * real;
    this.look({ x: moved(point.x, x), y: moved(point.y, y), w: wide, h: h * real });
  }

  /** Bring a record into view, if it is not: at the middle, so that the next ones are too. */
  follow(id) {
    const node = this.byRecord[id].find((n) => n.box);
    if (!node || !this.view) return;
    const next = { ...this.view };
    for (const [side, size] of Object.entries({ x: "w", y: "h" })) {
      const [from, span] = [next[side], next[size]];
      const middle = node.box[side] + node.box[size] / 2;
      const seen = middle >= from + span * 0.06 && middle <= from + span * 0.94;
      if (!seen && this.home[size] > span * 1.01) next[side] = middle - span / 2;
    }
    this.look(next);
  }

  /** A point of the screen in the picture's own measure. */
  pointAt(event) {
    return new DOMPoint(event.clientX, event.clientY).matrixTransform(this.measure());
  }

  /** What leads from the screen to the picture, which may have room at two sides. */
  measure() {
    return this.svg.getScreenCTM().inverse();
  }

  /** The picture as a file of its own, as it is lit now. */
  file() {
    const copy = this.svg.cloneNode(true);
    const { x, y, w, h } = this.home;
    set(copy, { viewBox: `${x} ${y} ${w} ${h}`, width: w, height: h });
    copy.classList.add("alone");
    const style = document.createElementNS(SVG, "style");
    style.textContent = byId("graph-style").textContent;
    copy.prepend(style, byId("hatch").cloneNode(true));
    return new XMLSerializer().serializeToString(copy);
  }
}

/** How many of some ticks have passed. */
const passed = (ticks, k) => ticks.filter((tick) => tick <= k).length;

function boxOf(rect) {
  const [x, y, w, h] = ["x", "y", "width", "height"].map((k) => Number(rect.getAttribute(k)));
  return { x, y, w, h };
}

/** What holds all boxes, with room around them. */
function bounds(boxes) {
  if (!boxes.length) return { x: 0, y: 0, w: 100, h: 100 };
  const [left, top] = ["x", "y"].map((k) => Math.min(...boxes.map((r) => r[k])));
  const right = Math.max(...boxes.map((r) => r.x + r.w));
  const bottom = Math.max(...boxes.map((r) => r.y + r.h));
  return { x: left - 30, y: top - 22, w: right - left + 60, h: bottom - top + 44 };
}

/** Drag to move, wheel to zoom. */
function moveable(surface, graph) {
  let from = null;
  surface.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    from = { x: event.clientX, y: event.clientY, view: graph().view, moved: false };
  });
  surface.addEventListener("pointermove", (event) => {
    if (!from || !(event.buttons & 1)) return;
    const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
    if (Math.hypot(dx, dy) > 4) from.moved = true;
    const { x, y, w, h } = from.view;
    const { a } = graph().measure();
    if (from.moved) graph().look({ x: x - dx * a, y: y - dy * a, w, h });
  });
  const drop = (event) => {
    if (from?.moved) event.stopPropagation(); // a drag is no click
    from = null;
  };
  surface.addEventListener("click", drop, true);
  surface.addEventListener("pointerleave", () => (from = null));
  const zoom = (event) => {
    event.preventDefault();
    graph().zoom(1.0016 ** event.deltaY, graph().pointAt(event));
  };
  surface.addEventListener("wheel", zoom, { passive: false });
}
