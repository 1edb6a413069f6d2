// Local rules: what each verb does, and how it pulls a cotangent back, in letters and in numbers.
// g is the cotangent of the answer y; x is the one input, a, b, c are several.

const sigma = (x) => 1 / (1 + Math.exp(-x));
const same = ["g", (v) => v.g];

/** Pointwise verbs: the formula, and for each input its rule as letters and as a function. */
const POINTWISE = {
  add: ["a + b", same, same],
  sub: ["a − b", same, ["−g", (v) => -v.g]],
  mul: ["a · b", ["g · b", (v) => v.g * v.b], ["g · a", (v) => v.g * v.a]],
  div: ["a / b", ["g / b", (v) => v.g / v.b], ["−g · y / b", (v) => (-v.g * v.y) / v.b]],
  power: [
    "a ^ b",
    ["g · b · a ^ (b − 1)", (v) => v.g * v.b * v.a ** (v.b - 1)],
    ["g · y · ln(a)", (v) => v.g * v.y * Math.log(v.a)],
  ],
  neg: ["−x", ["−g", (v) => -v.g]],
  exp: ["exp(x)", ["g · y", (v) => v.g * v.y]],
  log: ["ln(x)", ["g / x", (v) => v.g / v.x]],
  sqrt: ["√x", ["g / (2 · y)", (v) => v.g / (2 * v.y)]],
  tanh: ["tanh(x)", ["g · (1 − y²)", (v) => v.g * (1 - v.y * v.y)]],
  sigmoid: ["σ(x)", ["g · y · (1 − y)", (v) => v.g * v.y * (1 - v.y)]],
  softplus: ["ln(1 + exp(x))", ["g · σ(x)", (v) => v.g * sigma(v.x)]],
  abs: ["|x|", ["g · sign(x)", (v) => v.g * Math.sign(v.x)]],
  relu: ["max(x, 0)", ["g · [x > 0]", (v) => v.g * (v.x > 0)]],
  maximum: ["max(a, b)", ["g · [a > b]", wins(1, "a")], ["g · [b > a]", wins(1, "b")]],
  minimum: ["min(a, b)", ["g · [a < b]", wins(-1, "a")], ["g · [b < a]", wins(-1, "b")]],
  where: ["a ? b : c", same, ["g · [a]", (v) => v.g * !!v.a], ["g · [¬a]", (v) => v.g * !v.a]],
  astype: ["x", same],
};

/** The larger (or smaller) one gets all of g, at a tie each gets half. */
function wins(sign, letter) {
  return (v) => v.g * (v.a === v.b ? 0.5 : sign * (v.a - v.b) > 0 === (letter === "a"));
}

/** Verbs that move, add up or multiply: letters, or the name of a sentence in the page's words. */
const OTHERS = {
  matmul: ["a @ b", "g @ bᵀ", "aᵀ @ g"],
  cross_entropy: ["ln Σ exp(x) − x[target]", "g · (softmax(x) − [target])"],
  softmax: ["exp(x) / Σ exp(x)", "y · (g − Σ g · y)"],
  log_softmax: ["x − ln Σ exp(x)", "g − exp(y) · Σ g"],
  logsumexp: ["ln Σ exp(x)", "g · exp(x − y)"],
  sum: ["Σ x", "rule_sum"],
  max: ["max x", "rule_max"],
  min: ["min x", "rule_max"],
  split: ["rule_split_ahead", "rule_split"],
  unstack: ["rule_split_ahead", "rule_split"],
  stack: ["rule_join_ahead", "rule_join"],
  concat: ["rule_join_ahead", "rule_join"],
  embedding: ["rule_embedding_ahead", "rule_embedding"],
  take: ["rule_take_ahead", "rule_embedding"],
  broadcast_to: ["rule_expand_ahead", "rule_expand"],
  sum_to: ["Σ x", "rule_sum"],
  clip_cotangent: ["x", "rule_clip"],
};
for (const name of ["reshape", "transpose", "swapaxes", "flip"])
  OTHERS[name] = ["rule_move_ahead", "rule_move"];

/** What the page knows of an op: nothing of one that is not the library's, whatever its name. */
const knownOf = (table, r) => (r.own ? undefined : table[r.op]);

const letters = (r) => (r.inputs.length === 1 ? ["x"] : ["a", "b", "c"]);
const worded = (text) => (text && text.startsWith("rule_") ? say(text) : text);

/** The formula of a record: "y = tanh(x)". */
function formula(r) {
  const known = knownOf(POINTWISE, r) || knownOf(OTHERS, r);
  return known ? `y = ${worded(known[0])}` : say("rule_own", { op: r.op });
}

/** How it pulls back to an input, in letters. */
function ruleOf(r, place) {
  const pointwise = knownOf(POINTWISE, r);
  if (pointwise) return (pointwise[place + 1] || ["–"])[0];
  const known = knownOf(OTHERS, r);
  if (!known) return say("rule_unknown");
  return worded(known[place + 1] || known[1]);
}

/** The elements a rule needs, at one place; null where one of them was not kept. */
function lettersAt(run, r, j) {
  const found = { g: elementAt(r.grad, j), y: elementAt(r.value, j) };
  const size = sizeOf(r);
  r.inputs.forEach(([source], place) => {
    const x = run.records[source];
    const n = sizeOf(x);
    const at = n === size ? j : n === 1 || j === 0 ? 0 : -1; // broadcasting leaves the first first
    found[letters(r)[place]] = at < 0 ? null : elementAt(run.inputValue(r, place), at);
  });
  return found;
}

const elementAt = (numbers, j) =>
  numbers?.data && j < numbers.data.length ? numbers.data[j] : null;

/** The letters of a rule replaced by numbers; negative ones in brackets. */
function withNumbers(text, v) {
  return text.replace(/(?<![\p{L}])[gyxabc](?![\p{L}(])/gu, (letter) => {
    const words = brief(v[letter]);
    return words.startsWith("−") ? `(${words})` : words;
  });
}

/** The first elements of what a step adds to an input: [{text, value}], or [] if not known. */
function examples(run, r, place, most = 3) {
  if (r.op === "matmul" && !r.own) return productExample(run, r, place);
  if (r.op === "cross_entropy" && !r.own) return lossExample(run, r);
  const rule = knownOf(POINTWISE, r)?.[place + 1];
  if (!rule || r.grad?.data == null) return [];
  const found = [];
  for (let j = 0; j < Math.min(most, sizeOf(r)); j++) {
    const v = lettersAt(run, r, j);
    if (Object.values(v).includes(null)) break;
    found.push({ text: withNumbers(rule[0], v), value: rule[1](v), at: j });
  }
  return found;
}

/** The first element of a product's cotangents, as the sum it is. */
function productExample(run, r, place) {
  const [a, b] = [0, 1].map((p) => run.records[r.inputs[p][0]]);
  const [x, w] = [0, 1].map((p) => run.inputValue(r, p)?.data);
  const g = r.grad?.data;
  if (!g || !x || !w || b.shape?.length !== 2) return [];
  const [k, m] = b.shape;
  const terms =
    place === 0
      ? Array.from({ length: m }, (_, j) => [g[j], w[j]])
      : Array.from({ length: x.length / k }, (_, i) => [x[i * k], g[i * m]]);
  return [{ text: sumText(terms), value: terms.reduce((s, [p, q]) => s + p * q, 0), at: 0 }];
}

function sumText(terms) {
  const bracket = (v) => (v < 0 ? `(${brief(v)})` : brief(v));
  const words = terms.slice(0, 3).map(([p, q]) => `${bracket(p)} · ${bracket(q)}`);
  return words.join(" + ") + (terms.length > 3 ? " + …" : "");
}

function lossExample(run, r) {
  const [x, target] = [0, 1].map((p) => run.inputValue(r, p)?.data);
  const g = r.grad?.data;
  if (!x || !target || !g) return [];
  const row = x.slice(0, x.length / target.length);
  const top = Math.max(...row);
  const share = Math.exp(row[0] - top) / row.reduce((s, v) => s + Math.exp(v - top), 0);
  const hit = target[0] === 0 ? 1 : 0;
  return [
    { text: `${brief(g[0])} · (${brief(share)} − ${hit})`, value: g[0] * (share - hit), at: 0 },
  ];
}

/** Every rule against every recorded term: how many agree, and which do not. */
function checkRules(run, tolerance = 1e-4) {
  const wrong = [];
  let right = 0;
  for (const r of run.records)
    for (const { place, numbers } of r.terms)
      for (const { value, at } of examples(run, r, place, 64)) {
        const whole = r.op === "matmul" || sizeOf(run.records[r.inputs[place][0]]) === sizeOf(r);
        const expected = whole || r.op === "cross_entropy" ? elementAt(numbers, at) : null;
        if (expected === null) continue;
        const close = Math.abs(value - expected) <= tolerance * (1 + Math.abs(expected));
        if (close || Object.is(value, expected)) right += 1;
        else wrong.push({ id: r.id, op: r.op, place, at, value, expected });
      }
  return { right, wrong };
}
