// The panel: one tensor with its numbers, its rule, and the terms of its gradient; and the weights.

const byId = (id) => document.getElementById(id);

/** An element; what it says is text, whatever is in it. */
function make(tag, facts = {}, ...children) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(facts))
    if (key === "text") el.textContent = value;
    else if (key === "on") el.addEventListener("click", value);
    else if (value !== null) el.setAttribute(key, value);
  el.append(...children.filter((c) => c !== null && c !== ""));
  return el;
}

const facts = (text, ...children) => make("p", { class: "facts", text }, ...children);
const titled = (text, ...rest) => make("section", {}, make("h3", { text }), ...rest);

const NUMBERED = 12; // columns that have room for numbers
const ROOM = 16; // letters of a weight's name that have

/** An array as coloured cells, with numbers where there is room, small ones in units of 10ⁿ. */
function grid(data, shape, word) {
  const columns = Math.max(1, shape?.length ? shape[shape.length - 1] : data.length);
  const most = Math.max(0, ...data.filter(Number.isFinite).map(Math.abs));
  const dense = columns > 6;
  const decade = dense ? decadeOf(most) : 0;
  const words = (v) => (columns > NUMBERED ? "" : dense ? briefest(v / 10 ** decade) : brief(v));
  const look = dense ? "grid dense" : "grid";
  const box = make("section", { class: look, role: "img", "aria-label": word });
  box.style.gridTemplateColumns = `repeat(${columns}, minmax(0, ${dense ? "1fr" : "3.6rem"}))`;
  for (const v of data) {
    const loud = Number.isFinite(v) ? null : "loud";
    const cell = make("span", { text: words(v), title: brief(v), class: loud });
    cell.style.backgroundColor = signColour(v, most);
    box.append(cell);
  }
  return [box, decade ? facts(say("units", { n: brief(10 ** decade) })) : ""];
}

function statistics(n) {
  const words = [`‖·‖ ${brief(n.l2)}`];
  if (n.least != null && n.data?.length !== 1)
    words.push(...["least", "largest", "average"].map((word) => `${say(word)} ${brief(n[word])}`));
  const bad = n.nan || n.infinite ? ` ${n.nan} NaN, ${n.infinite} ∞` : "";
  return facts(words.join("  ·  "), bad && make("b", { class: "loud", text: bad }));
}

const array = (title, n, shape) =>
  titled(title, ...(n?.data ? grid(n.data, shape, title) : []), n ? statistics(n) : "");

class Panel {
  constructor(box, run, choose) {
    Object.assign(this, { box, run, choose });
  }

  show(id, k) {
    const r = this.run.records[id];
    const known = this.run.forwardAt[id] <= k;
    const sources = r.inputs.map(([source]) => source);
    const which = make("span", { text: ` ${r.name && r.op ? `= ${r.op} ` : ""}#${id}` });
    this.box.replaceChildren(
      make("h2", {}, r.label, which),
      facts(this.facts(r)),
      this.rule(r, k),
      known ? array(say("value"), r.value, r.shape) : titled(say("value_waits")),
      this.gradient(r, k),
      this.neighbours(say("reads"), sources),
      this.neighbours(say("readers"), this.run.readers[id]),
    );
  }

  facts(r) {
    const words = [say(`kind_${r.kind}`), `${r.dtype} ${shapeWords(r)}`, this.run.where(r)];
    words.push(r.attributes, r.saved && say("saved", { n: r.saved }));
    return words.filter(Boolean).join("  ·  ");
  }

  button(id) {
    const r = this.run.records[id];
    const text = `${r.label} #${id}${r.t >= 0 ? ` t=${r.t}` : ""}`;
    return make("button", { class: "link", text, on: () => this.choose(id) });
  }

  neighbours(title, ids) {
    if (!ids.length) return "";
    const some = [...new Set(ids)];
    const more = some.length > 12 ? ` … ${some.length}` : "";
    const part = titled(title, ...some.slice(0, 12).map((id) => this.button(id)), more);
    part.className = "near";
    return part;
  }

  /** What it computes, and the gradient of each input, in letters and in numbers. */
  rule(r, k) {
    const part = make("section", { class: "rule" });
    if (r.kind !== "op") return part;
    part.append(make("p", { class: "formula", text: formula(r) }));
    if (r.terms.length) part.append(make("h3", { text: say("adds") }));
    for (const term of r.terms) {
      const [source, at] = r.inputs[term.place];
      const adds = make("span", { class: "adds", text: ` += ${ruleOf(term)}` });
      const which = at >= 0 ? ` [${at}]` : "";
      part.append(make("p", { class: "formula" }, this.button(source), which, adds));
      if (this.run.backwardAt[r.id] <= k) part.append(this.examples(r, term));
    }
    return part;
  }

  examples(r, term) {
    const lines = examples(this.run, r, term).map(({ text, value }) =>
      make("p", { text: `${text} = ${brief(value)}` }),
    );
    const [source, part] = r.inputs[term.place];
    const grown = r.pointwise && part < 0 && sizeOf(this.run.records[source]) !== sizeOf(r);
    const sum = facts(`${grown ? `${say("broadcast")} ` : ""}‖·‖ = ${brief(term.numbers.l2)}`);
    return make("section", { class: "numbers" }, ...lines, sum);
  }

  /** The gradient so far: the terms that have come, and how many are on their way. */
  gradient(r, k) {
    const all = this.run.arrivals[r.id];
    if (!all.length && !r.grad) return facts(say("no_gradient"));
    const came = all.filter((a) => a.tick <= k);
    const so_far = this.run.gradientAt(r.id, k);
    const wait = { k: all[0]?.tick ?? this.run.backwardAt[r.id] };
    if (!so_far) return titled(say("gradient_waits", wait));
    const several = all.length > 1;
    const title = say(several ? "gradient_of" : "gradient", { k: came.length, n: all.length });
    const part = array(title, so_far, r.shape);
    if (several) part.append(this.terms(came));
    return part;
  }

  terms(came) {
    const words = (a) => ` += ${brief(a.numbers.l2)}${a.part >= 0 ? `  [${a.part}]` : ""}`;
    const lines = came.slice(0, 40).map((a) => make("li", {}, this.button(a.from), words(a)));
    return make("ol", { class: "terms" }, ...lines);
  }
}

/** The weights: the sum of each gradient so far, and a bar for each term. */
class Weights {
  constructor(box, run, choose) {
    Object.assign(this, { box, run });
    const shared = [...run.weights].sort((p, q) => q.shares.length - p.shares.length);
    this.rows = shared.map((w) => this.row(w, choose));
    if (this.rows.length) this.rows[0].el.open = true;
    box.replaceChildren(...this.rows.map((row) => row.el));
  }

  row(w, choose) {
    const sum = make("span", { class: "total" });
    const most = Math.max(...w.shares.map((s) => s.l2).filter(Number.isFinite), 1e-300);
    const marks = w.shares.map((s) => this.bar(s, most));
    const look = marks.length > 16 ? "bars many" : "bars";
    const order = this.inTime(w).map((n) => marks[n]);
    const bars = make("span", { class: look, role: "img" }, ...order);
    const cells = make("section");
    const text = w.label.length > ROOM ? `…${w.label.slice(1 - ROOM)}` : w.label; // own name last
    const line = make("summary", {}, make("span", { text, title: w.label }), bars, sum);
    line.addEventListener("click", () => choose(w.record.id));
    const el = make("details", { class: "weight" }, line, cells);
    return { el, w, sum, bars, marks, cells, came: -1 };
  }

  /** The terms from the left to the right: before the steps, by their time, after the steps. */
  inTime({ shares }) {
    const tick = ({ source }) => this.run.forwardAt[source.id];
    const first = Math.min(...shares.filter((s) => s.source.t >= 0).map(tick));
    const time = (s) => (s.source.t >= 0 ? s.source.t : tick(s) < first ? -1 : Infinity);
    const later = (p, q) => (time(p) === time(q) ? tick(p) - tick(q) : time(p) - time(q));
    return [...shares.keys()].sort((m, n) => later(shares[m], shares[n]) || n - m);
  }

  bar(share, most) {
    const title = `${this.run.where(share.source)}: ${brief(share.l2)}`;
    const loud = isLoud(share.l2);
    const bar = make("i", { title, class: loud ? "loud" : null });
    bar.style.height = `${loud ? 100 : Math.max(4, (100 * share.l2) / most)}%`;
    return bar;
  }

  show(k, repaint) {
    for (const row of this.rows) {
      const { w } = row;
      const came = w.came(k);
      if (came === row.came && !repaint) continue;
      row.came = came;
      row.marks.forEach((bar, n) => bar.classList.toggle("came", n < came));
      row.bars.setAttribute("aria-label", say("terms"));
      row.el.classList.toggle("whole", came === w.shares.length);
      const sum = came ? brief(w.shares[came - 1].total) : "0";
      row.sum.textContent = say("sum_of", { k: came, n: w.shares.length, sum });
      const data = w.sum(k);
      const shape = data?.length === w.size ? w.record.shape : [8];
      row.cells.replaceChildren(...(data ? grid(data, shape, say("gradient")) : []));
    }
  }
}
