// The run: what is known at each tick. Ticks 1 to F go forward, F + 1 to F + B backward.

class Run {
  constructor({ tape, usual, saved, signs, weights, sums }) {
    Object.assign(this, { tape, signs, sums });
    this.records = tape.records.map((given) => {
      const { call, place, id } = given;
      const r = { ...usual, ...given, ...tape.calls[call], ...tape.places[place] };
      const [value, grad] = [r.value, r.grad].map(measured);
      return { ...r, value, grad, saved: saved[id], label: r.name || r.op || r.kind };
    });
    for (const r of this.records) r.terms = r.terms.map((term) => this.wholeTerm(r, term));
    const ids = (records) => records.map((r) => r.id);
    this.forward = ids(this.records.filter((r) => r.kind === "op"));
    const passed = this.records.filter((r) => r.order >= 0);
    this.backward = ids(passed.sort((p, q) => p.order - q.order));
    this.last = this.forward.length + this.backward.length;
    this.forwardAt = this.records.map(() => 0);
    this.forward.forEach((id, k) => (this.forwardAt[id] = k + 1));
    this.backwardAt = this.records.map(() => Infinity);
    this.backward.forEach((id, k) => (this.backwardAt[id] = this.forward.length + k + 1));
    this.link();
    this.weights = weights.map((w) => new Weight(w, this));
  }

  /** A term; one that is not written out is all that its input gets. */
  wholeTerm(r, { place, numbers }) {
    const all = this.records[r.inputs[place][0]].grad;
    return { place, numbers: measured(numbers) ?? all, rule: r.rules[place] ?? "" };
  }

  /** For each record who reads it, and which backward steps add to its gradient, in their order. */
  link() {
    this.readers = this.records.map(() => []);
    this.arrivals = this.records.map(() => []);
    for (const r of this.records) for (const [source] of r.inputs) this.readers[source].push(r.id);
    for (const from of this.backward)
      for (const { place, numbers } of this.records[from].terms) {
        const [source, part] = this.records[from].inputs[place];
        this.arrivals[source].push({ from, part, numbers, tick: this.backwardAt[from] });
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
    const near = (a) => t === null || this.records[a.from].t === t;
    const came = this.arrivals[id].filter((a) => a.tick <= k && near(a));
    if (came.length < 2) return came[0]?.numbers ?? null;
    const told = this.sums[id]?.[this.arrivals[id].indexOf(came.at(-1))];
    if (!told) return added(came.map((a) => a.numbers.data));
    if (t !== null) return measured({ l2: told.step });
    return told.l2 === undefined ? this.records[id].grad : measured(told);
  }

  /** The value a record reads: of a tuple, the part, where its elements are known. */
  inputValue(r, place) {
    const [source, part] = r.inputs[place];
    const { value, sizes } = this.records[source];
    if (part < 0 || !value?.data) return part < 0 ? value : null;
    const start = sizes.slice(0, part).reduce((sum, n) => sum + n, 0);
    return { data: value.data.slice(start, start + sizes[part]) };
  }

  /** What leads from one record to the result: everything its gradient comes through. */
  pathFrom(id, to = null) {
    const found = new Set([id]);
    for (const r of this.records)
      if (this.backwardAt[r.id] < Infinity && r.inputs.some(([s]) => found.has(s))) found.add(r.id);
    if (to === null) return found;
    const leads = new Set([to]);
    for (const r of [...this.records].reverse())
      if (leads.has(r.id)) r.inputs.forEach(([s]) => leads.add(s));
    return new Set([...found].filter((n) => leads.has(n)));
  }

  /** What was read at a step, or its number. */
  sign(t) {
    return this.signs[t] || String(t);
  }

  /** "t = 3 (北), layer0", or the scope of what has no step. */
  where({ t, layer, scope }) {
    if (t < 0) return scope;
    return `t = ${t}${this.signs[t] ? ` (${this.signs[t]})` : ""}${layer && `, ${layer}`}`;
  }
}

/** A parameter, and the terms of its gradient in the order in which they come. */
class Weight {
  constructor({ id, size, shares }, run) {
    Object.assign(this, { size, record: run.records[id] });
    this.shares = shares.map(({ source, l2, total, data }) => ({
      ...{ source: run.records[source], tick: run.backwardAt[source] },
      ...measured({ l2, total, data }),
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
