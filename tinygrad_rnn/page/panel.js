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

const NUMBERED = 12; // columns that have room for numbers

/** An array as coloured cells, with numbers where there is room, small ones in units of 10ⁿ. */
function grid(data, shape, word) {
  const columns = Math.max(1, shape?.length ? shape[shape.length - 1] : data.length);
  const most = Math.max(0, ...data.filter(Number.isFinite).map(Math.abs));
  const dense = columns > 6;
  const decade = dense ? decadeOf(most) : 0;
  const words = (v) => (columns > NUMBERED ? "" : dense ? briefest(v / 10 ** decade) : brief(v));
  const box = make("div", {
    class: dense ? "grid dense" : "grid",
    role: "img",
    "aria-label": word,
  });
  box.style.gridTemplateColumns = `repeat(${columns}, minmax(0, ${dense ? "1fr" : "3.6rem"}))`;
  for (const v of data) {
    const cell = make("span", { text: words(v), title: brief(v) });
    if (!Number.isFinite(v)) cell.className = "loud";
    cell.style.backgroundColor = signColour(v, most);
    box.append(cell);
  }
  const unit = decade
    ? make("p", { class: "facts", text: say("units", { n: brief(10 ** decade) }) })
    : "";
  return make("div", {}, box, unit);
}

function statistics(n) {
  const words = [`‖·‖ ${brief(n.l2)}`];
  if (n.least !== null && n.data?.length !== 1)
    words.push(
      `${say("least")} ${brief(n.least)}`,
      `${say("largest")} ${brief(n.largest)}`,
      `${say("mean")} ${brief(n.mean)}`,
    );
  const bad = n.nan || n.infinite ? `${n.nan} NaN, ${n.infinite} ∞` : "";
  return make(
    "p",
    { class: "facts", text: words.join("  ·  ") },
    bad && make("b", { class: "loud", text: ` ${bad}` }),
  );
}

function array(title, n, shape) {
  const part = make("section", {}, make("h3", { text: title }));
  if (!n) return part;
  if (n.data) part.append(grid(n.data, shape, title));
  part.append(statistics(n));
  return part;
}

class Panel {
  constructor(box, run, choose) {
    Object.assign(this, { box, run, choose });
  }

  show(id, k) {
    const r = this.run.records[id];
    const known = this.run.forwardAt[id] <= k;
    this.box.replaceChildren(
      make(
        "h2",
        {},
        r.label,
        make("span", { text: ` ${r.name && r.op ? `= ${r.op} ` : ""}#${id}` }),
      ),
      make("p", { class: "facts", text: this.facts(r) }),
      this.rule(r, k),
      known ? array(say("value"), r.value, r.shape) : array(say("value_waits"), null),
      this.gradient(r, k),
      this.neighbours(
        say("reads"),
        r.inputs.map(([source]) => source),
      ),
      this.neighbours(
        say("readers"),
        this.run.readers[id].map((x) => x.id),
      ),
    );
  }

  facts(r) {
    const words = [say(`kind_${r.kind}`), `${r.dtype} ${shapeWords(r)}`, this.run.where(r)];
    if (r.attributes) words.push(r.attributes);
    if (r.saved) words.push(say("saved", { n: r.saved }));
    return words.filter(Boolean).join("  ·  ");
  }

  button(id) {
    const r = this.run.records[id];
    const t = r.t >= 0 ? ` t=${r.t}` : "";
    return make("button", {
      class: "link",
      text: `${r.label} #${id}${t}`,
      on: () => this.choose(id),
    });
  }

  neighbours(title, ids) {
    if (!ids.length) return "";
    const some = [...new Set(ids)];
    const more = some.length > 12 ? ` … ${some.length}` : "";
    return make(
      "section",
      { class: "near" },
      make("h3", { text: title }),
      ...some.slice(0, 12).map((id) => this.button(id)),
      more,
    );
  }

  /** What it computes, and the gradient of each input, in letters and in numbers. */
  rule(r, k) {
    const part = make("section", { class: "rule" });
    if (r.kind !== "op") return part;
    part.append(make("p", { class: "formula", text: formula(r) }));
    if (!r.terms.length) return part;
    const came = this.run.backwardAt[r.id] <= k;
    part.append(make("h3", { text: say("adds") }));
    for (const term of r.terms) {
      const [source, at] = r.inputs[term.place];
      const line = make("p", { class: "formula" }, this.button(source), at >= 0 ? ` [${at}]` : "");
      line.append(make("span", { class: "adds", text: ` += ${ruleOf(term)}` }));
      part.append(line);
      if (came) part.append(this.examples(r, term));
    }
    return part;
  }

  examples(r, term) {
    const { place, numbers } = term;
    const list = make("div", { class: "numbers" });
    for (const { text, value } of examples(this.run, r, term))
      list.append(make("p", { text: `${text} = ${brief(value)}` }));
    const [source, part] = r.inputs[place];
    const same = sizeOf(this.run.records[source]) === sizeOf(r);
    const grown = r.pointwise && part < 0 && !same;
    const sum = grown ? `${say("broadcast")} ` : "";
    list.append(make("p", { class: "facts", text: `${sum}‖·‖ = ${brief(numbers.l2)}` }));
    return list;
  }

  /** The gradient so far: the terms that have come, and how many are on their way. */
  gradient(r, k) {
    const all = this.run.arrivals[r.id];
    if (!all.length && !r.grad) return make("p", { class: "facts", text: say("no_gradient") });
    const came = all.filter((a) => a.tick <= k);
    const so_far = this.run.gradientAt(r.id, k);
    const title =
      all.length > 1 ? say("gradient_of", { k: came.length, n: all.length }) : say("gradient");
    if (!so_far)
      return array(say("gradient_waits", { k: all[0]?.tick ?? this.run.backwardAt[r.id] }), null);
    const part = array(title, so_far, r.shape);
    if (all.length > 1) part.append(this.terms(came));
    return part;
  }

  terms(came) {
    const list = make("ol", { class: "terms" });
    for (const a of came.slice(0, 40))
      list.append(
        make(
          "li",
          {},
          this.button(a.from),
          ` += ${brief(a.numbers.l2)}${a.part >= 0 ? `  [${a.part}]` : ""}`,
        ),
      );
    return list;
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
    const sum = make("span", { class: "sum" });
    const bars = make("span", { class: w.shares.length > 16 ? "bars many" : "bars", role: "img" });
    const most = Math.max(...w.shares.map((s) => s.l2).filter(Number.isFinite), 1e-300);
    const marks = w.shares.map((s) => this.bar(s, most));
    bars.append(...[...marks].reverse()); // time goes to the right, the backward pass to the left
    const cells = make("div");
    const line = make("summary", {}, make("span", { text: w.label, title: w.label }), bars, sum);
    const el = make("details", { class: "weight" }, line, cells);
    line.addEventListener("click", () => choose(w.record.id));
    return { el, w, sum, bars, marks, cells, came: -1 };
  }

  bar(share, most) {
    const title = `${this.run.where(share.source)}: ${brief(share.l2)}`;
    const bar = make("i", { title, class: isLoud(share.l2) ? "loud" : null });
    bar.style.height = `${isLoud(share.l2) ? 100 : Math.max(4, (100 * share.l2) / most)}%`;
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
      const shape = data && data.length === w.size ? w.record.shape : [8];
      row.cells.replaceChildren(data ? grid(data, shape, say("gradient")) : "");
    }
  }
}
