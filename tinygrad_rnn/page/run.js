// The run: what is known at each tick. Ticks 1 to F go forward, F + 1 to F + B backward.

class Run {
  constructor(data) {
    this.tape = data.tape;
    const { records, calls, places } = data.tape;
    this.records = records.map((r) => wholeRecord({ ...r, ...calls[r.call], ...places[r.place] }));
    for (const r of this.records) r.saved = data.saved[r.id] ?? 0;
    for (const r of this.records) wholeTerms(r, this.records);
    this.forward = this.records.filter((r) => r.kind === "op").map((r) => r.id);
    this.backward = this.records.filter((r) => r.order >= 0).sort((p, q) => p.order - q.order);
    this.backward = this.backward.map((r) => r.id);
    this.last = this.forward.length + this.backward.length;
    this.forwardAt = this.records.map(() => 0);
    this.forward.forEach((id, k) => (this.forwardAt[id] = k + 1));
    this.backwardAt = this.records.map(() => Infinity);
    this.backward.forEach((id, k) => (this.backwardAt[id] = this.forward.length + k + 1));
    this.signs = data.signs;
    this.link();
    this.weights = data.weights.map((w) => new Weight(w, this));
  }

  /** For each record who reads it, and which backward steps add to its gradient, in their order. */
  link() {
    this.readers = this.records.map(() => []);
    this.arrivals = this.records.map(() => []);
    for (const r of this.records)
      r.inputs.forEach(([source, part], place) =>
        this.readers[source].push({ id: r.id, place, part }),
      );
    for (const id of this.backward)
      for (const { place, numbers } of this.records[id].terms) {
        const [source, part] = this.records[id].inputs[place];
        this.arrivals[source].push({ from: id, place, part, numbers, tick: this.backwardAt[id] });
      }
  }

  /** The record a tick is at, and which way it goes. */
  at(k) {
    const F = this.forward.length;
    if (k === 0) return { way: "start", record: null };
    if (k <= F) return { way: "forward", record: this.records[this.forward[k - 1]] };
    return { way: "backward", record: this.records[this.backward[k - F - 1]] };
  }

  /** The last tick at which anything happens to a record. */
  doneAt(id) {
    return this.backwardAt[id] < Infinity ? this.backwardAt[id] : this.forwardAt[id];
  }

  /** The gradient that has come to a record by a tick; t: from the readers of one step only. */
  gradientAt(id, k, t = null) {
    if (this.backwardAt[id] <= k && t === null) return this.records[id].grad;
    const came = this.arrivals[id].filter(
      (a) => a.tick <= k && (t === null || this.records[a.from].t === t),
    );
    return came.length ? summed(came) : null;
  }

  /** The value a record reads: of a tuple, the part, where its elements are known. */
  inputValue(r, place) {
    const [source, part] = r.inputs[place];
    const x = this.records[source];
    if (part < 0) return x.value;
    return partOf(x, part);
  }

  /** What leads from one record to the result: everything its gradient comes through. */
  pathFrom(id, to = null) {
    const found = new Set([id]);
    for (const r of this.records)
      if (r.id > id && this.backwardAt[r.id] < Infinity && r.inputs.some(([s]) => found.has(s)))
        found.add(r.id);
    if (to === null) return found;
    const leads = new Set([to]);
    for (const r of [...this.records].reverse())
      if (leads.has(r.id)) r.inputs.forEach(([s]) => leads.add(s));
    return new Set([...found].filter((n) => leads.has(n)));
  }

  /** "t = 3 (北), layer0", or the scope of what has no step. */
  where(r) {
    if (r.t < 0) return r.scope;
    const sign = this.signs[r.t] ? ` (${this.signs[r.t]})` : "";
    return `t = ${r.t}${sign}${r.layer ? `, ${r.layer}` : ""}`;
  }
}

/** The terms that have come so far, added up; of large arrays only about their norm is known. */
function summed(came) {
  const parts = new Set(came.map((a) => a.part));
  if (came.length === 1) return came[0].numbers;
  if (parts.size === 1 && came.every((a) => a.numbers.data))
    return added(came.map((a) => a.numbers.data));
  return { ...came[0].numbers, l2: norm(came.map((a) => a.numbers.l2)), data: null };
}

/** A part of a tuple: in the data they follow each other. */
function partOf(x, part) {
  if (!x.value?.data) return null;
  const start = x.sizes.slice(0, part).reduce((sum, n) => sum + n, 0);
  return added([x.value.data.slice(start, start + x.sizes[part])]);
}

/** A record with everything that goes without saying. */
function wholeRecord(given) {
  const words = { kind: "op", op: "", name: "", scope: "", layer: "", dtype: "", attributes: "" };
  const facts = { own: false, t: -1, shape: null, sizes: [], order: -1 };
  const rest = { formula: "", rules: [], pointwise: false, inputs: [], terms: [] };
  const r = { ...words, ...facts, ...rest, ...given };
  r.label = r.name || r.op || r.kind;
  r.value = measured(given.value);
  r.grad = measured(given.grad);
  return r;
}

/** The terms; one that is not written out is all that its input gets. */
function wholeTerms(r, records) {
  const all = ({ place }) => records[r.inputs[place][0]].grad;
  r.terms = r.terms.map((x) => {
    const place = x.place ?? 0;
    return { place, numbers: measured(x.numbers) ?? all(x), rule: r.rules[place] ?? "" };
  });
}

/** A parameter, and the terms of its gradient in the order in which they come. */
class Weight {
  constructor({ id, size, shares }, run) {
    Object.assign(this, { size, record: run.records[id] });
    this.shares = shares.map(({ source, l2, total, data }) => ({
      source: run.records[source],
      tick: run.backwardAt[source],
      l2: real(l2),
      total: real(total),
      data: data.map(real),
    }));
    const layers = new Set(this.shares.map((s) => s.source.layer));
    const layer = layers.size === 1 && !this.record.label.includes(".") ? [...layers][0] : "";
    this.label = `${layer} ${this.record.label}`.trim();
  }

  /** How many terms have come by a tick. */
  came(k) {
    return this.shares.filter((s) => s.tick <= k).length;
  }

  /** The elements that are known of the sum at a tick. */
  sum(k) {
    const came = this.shares.slice(0, this.came(k));
    return came.length ? added(came.map((s) => s.data)).data : null;
  }
}
