// The strips below the graph: gradients of the states over time, and the scrubber's marks.

/** A row for each state, a cell for each step; or a row for each part of the loss (itemised). */
class Strip {
  constructor(box, run, { rows, itemised }, light, choose) {
    Object.assign(this, { box, run, light, choose, itemised, cells: [] });
    const times = rows.flatMap((row) => Object.keys(row.cells).map(Number));
    this.times = [...new Set(times)].sort((p, q) => p - q);
    this.dense = this.times.length > 24; // then there is no room for numbers
    const states = rows.map((row) => this.stateRow(row));
    const parts = itemised ? itemised.parts.map((t, n) => this.partRow(t, n)) : [];
    const tables = [
      ["states", states],
      ["parts", parts],
    ].filter(([, lines]) => lines.length);
    box.replaceChildren(...tables.map(([name, lines]) => this.table(name, lines, tables.length)));
    this.turn("states");
  }

  sign(t) {
    return this.run.signs[t] || String(t);
  }

  /** The button in the corner leads to the other table. */
  table(name, lines, count) {
    const other = name === "states" ? "parts" : "states";
    const facts = { class: "link", "data-say": `strip_${name}`, "data-hint": `strip_to_${other}` };
    const corner = make("button", count > 1 ? { ...facts, on: () => this.turn(other) } : facts);
    const head = make("tr", {}, make("th", {}, corner));
    const each = Math.ceil(this.times.length / 25);
    for (const [n, t] of this.times.entries())
      head.append(make("th", { text: n % each ? "" : this.sign(t), scope: "col" }));
    return make("table", { "data-name": name }, head, ...lines);
  }

  turn(name) {
    for (const table of this.box.children) table.hidden = table.dataset.name !== name;
  }

  stateRow({ layer, label, cells }) {
    const line = make("tr", {}, make("th", { text: `${layer} ${label}`.trim(), scope: "row" }));
    for (const t of this.times) line.append(this.cell(cells[t], null));
    return line;
  }

  partRow(part, n) {
    const { steps, norms, cells } = this.itemised;
    const line = make("tr", {}, make("th", { text: `L ${this.sign(part)}`, scope: "row" }));
    for (const t of this.times) {
      const l2 = norms[n][steps.indexOf(t)] ?? null;
      line.append(this.cell(l2 === null ? undefined : cells[t], cells[part], real(l2)));
    }
    return line;
  }

  /** A cell that lights the path from a state to where the loss reads it. */
  cell(id, to, l2 = null) {
    if (id === undefined) return make("td", { class: "none" });
    const cell = make("td", { tabindex: this.dense ? "-1" : "0" });
    for (const event of ["pointerenter", "focus"])
      cell.addEventListener(event, () => this.light(id, to));
    cell.addEventListener("click", () => this.choose(id));
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
    for (const { cell, id, l2 } of this.cells) {
      const came = this.run.backwardAt[id] <= k ? (this.run.records[id].grad?.l2 ?? null) : null;
      this.paint(cell, l2 ?? came);
    }
  }
}

/** Where the steps begin, along the scrubber: first the forward pass, then the backward pass. */
function marks(box, run) {
  const found = [];
  let before = null;
  for (let k = 1; k <= run.last; k++) {
    const { way, record } = run.at(k);
    if (record.kind !== "op") continue;
    if (record.t !== before && record.t >= 0) found.push({ k, t: record.t, way });
    before = record.t;
  }
  const half = make("div", { class: "half forward" });
  const other = make("div", { class: "half backward" });
  const share = (100 * run.forward.length) / Math.max(1, run.last);
  half.style.width = `${share}%`;
  other.style.width = `${100 - share}%`;
  box.replaceChildren(half, other);
  const each = Math.ceil(found.length / 40);
  for (const [n, { k, t }] of found.entries()) {
    if (n % each) continue;
    const mark = make("span", { class: "mark", text: run.signs[t] || String(t) });
    mark.style.left = `${(100 * (k - 1)) / run.last}%`;
    box.append(mark);
  }
}

/** The tour: captions, each at the tick that it speaks of. */
function tourOf(run) {
  const F = run.forward.length;
  const tickWhere = (test) => {
    for (let k = F + 1; k <= run.last; k++) if (test(run.at(k).record)) return k;
    return null;
  };
  const firstTime = run.forward.findIndex((id) => run.records[id].t >= 0) + 1;
  const weight = run.weights.find((w) => w.shares.length > 1);
  const shared = weight?.shares[1].tick;
  const firstBack = tickWhere((r) => r.t >= 0);
  const late = firstBack && run.at(firstBack).record.t;
  const pointwise = tickWhere((r) => r.pointwise && r.terms.some((x) => x.rule.includes("y")));
  const border = tickWhere((r) => r.t >= 0 && r.t !== late);
  const stops = [
    ["start", 0],
    ["step", firstTime],
    ["loss", F],
    ["seed", F + 1],
  ];
  stops.push(["rule", pointwise], ["border", border], ["shared", shared], ["end", run.last]);
  return stops
    .filter(([, k]) => k !== null && k !== undefined && k >= 0)
    .sort((p, q) => p[1] - q[1]);
}
