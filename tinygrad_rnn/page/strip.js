// The strips below the graph: gradients of the states over time, and the scrubber's marks.

/** A row for each state, a cell for each step; or a row for each part of the loss (itemised). */
class Strip {
  constructor(box, run, { rows, itemised }, light, choose) {
    Object.assign(this, { box, run, light, choose, cells: [] });
    const times = rows.flatMap((row) => Object.keys(row.cells).map(Number));
    this.times = [...new Set(times)].sort((p, q) => p - q);
    const room = Math.min(24, Math.max(4, (innerWidth - 160) / 46)); // for a number each
    this.dense = this.times.length > room;
    box.classList.toggle("dense", this.dense);
    const states = rows.map(({ layer, label, cells }) =>
      this.row(`${layer} ${label}`.trim(), (t) => [cells[t], null, null]),
    );
    const parts = (itemised?.parts ?? []).map((part, n) => {
      const { steps, norms, cells } = itemised;
      const felt = (t) => real(norms[n][steps.indexOf(t)] ?? null);
      const cell = (t) => (felt(t) === null ? [] : [cells[t], cells[part], felt(t)]);
      return this.row(`L ${run.sign(part)}`, cell);
    });
    const tables = Object.entries({ states, parts }).filter(([, lines]) => lines.length);
    box.replaceChildren(...tables.map(([name, lines]) => this.table(name, lines, tables.length)));
    this.turn("states");
  }

  /** The button in the corner leads to the other table. */
  table(name, lines, count) {
    const other = name === "states" ? "parts" : "states";
    const words = { "data-say": `strip_${name}`, "data-hint": `strip_to_${other}` };
    const turn = () => count > 1 && this.turn(other);
    const corner = make("th", {}, make("button", { class: "link", ...words, on: turn }));
    const each = Math.ceil(this.times.length / 25);
    const head = this.times.map((t, n) =>
      make("th", { text: n % each ? "" : this.run.sign(t), scope: "col" }),
    );
    return make("table", { "data-name": name }, make("tr", {}, corner, ...head), ...lines);
  }

  turn(name) {
    for (const table of this.box.children) table.hidden = table.dataset.name !== name;
  }

  row(text, cell) {
    const cells = this.times.map((t) => this.cell(...cell(t)));
    return make("tr", {}, make("th", { text, title: text, scope: "row" }), ...cells);
  }

  /** A cell that lights the path from a state to where the loss reads it. */
  cell(id, to, l2) {
    if (id === undefined) return make("td", { class: "none" });
    const cell = make("td", { tabindex: this.dense ? "-1" : "0", on: () => this.choose(id) });
    cell.addEventListener("keydown", (event) => event.key === "Enter" && this.choose(id));
    for (const event of ["pointerenter", "focus"])
      cell.addEventListener(event, () => this.light(id, to));
    for (const event of ["pointerleave", "blur"])
      cell.addEventListener(event, () => this.light(null));
    this.cells.push({ cell, id, l2 });
    return cell;
  }

  paint(cell, l2) {
    const words = l2 === null ? "" : brief(l2);
    if (this.dense) cell.title = words;
    else if (cell.textContent !== words) cell.textContent = words;
    cell.classList.toggle("loud", isLoud(l2));
    cell.classList.toggle("deep", isDeep(l2));
    cell.style.backgroundColor = l2 === null || isLoud(l2) ? "" : normColour(l2);
  }

  /** Parts of the loss are known at any tick: each had a backward pass of its own. */
  show(k) {
    for (const { cell, id, l2 } of this.cells)
      this.paint(cell, l2 ?? (this.run.backwardAt[id] <= k ? this.run.records[id].grad.l2 : null));
  }
}

/** Where the steps begin, along the scrubber: first the forward pass, then the backward pass. */
function marks(box, run) {
  const share = (ticks) => `${(100 * ticks) / Math.max(1, run.last)}%`;
  for (const way of ["forward", "backward"]) {
    const half = make("span", { class: `half ${way}` });
    half.style.width = share(run[way].length);
    box.append(half);
  }
  const ops = Array.from({ length: run.last }, (_, k) => ({ k, ...run.at(k + 1).record }));
  const times = ops.filter((r) => r.kind === "op");
  const found = times.filter(({ t }, n) => t >= 0 && t !== times[n - 1]?.t);
  const wide = (text) => [...text].reduce((sum, letter) => sum + (letter > "⺀" ? 13 : 8), 10);
  let free = 0; // where the one before leaves room: layers may have few ops in a step, or many
  for (const { k, t } of found) {
    if (k < free) continue;
    free = k + (run.last * wide(run.sign(t))) / (box.clientWidth || 900);
    const mark = make("span", { class: "mark", text: run.sign(t) });
    mark.style.left = share(k);
    box.append(mark);
  }
}

/** The tour: captions, each at the tick that it speaks of. */
function tourOf(run) {
  const F = run.forward.length;
  const tickWhere = (test) => run.backwardAt[run.backward.find((id) => test(run.records[id]))];
  const first = run.forward.findIndex((id) => run.records[id].t >= 0);
  const sources = (r) => r.terms.map((term) => run.records[r.inputs[term.place][0]]);
  const before = (r, way) => (x) => x.t >= 0 && x.layer === r.layer && (r.t - x.t) * way > 0;
  const crosses = (way) => tickWhere((r) => r.t >= 0 && sources(r).some(before(r, way)));
  const stops = {
    [first < 0 ? "begin" : "start"]: 0,
    step: first < 0 ? undefined : first + 1,
    loss: F,
    seed: F + 1,
    rule: tickWhere((r) => r.pointwise && r.terms.some((x) => x.rule.includes("y"))),
    border: crosses(1) ?? crosses(-1),
    shared: run.weights.find((w) => w.shares.length > 1)?.shares[1].tick,
    [first < 0 ? "done" : "end"]: run.last,
  };
  const known = Object.entries(stops).filter(([, k]) => k !== undefined);
  return known.sort((p, q) => p[1] - q[1]);
}
