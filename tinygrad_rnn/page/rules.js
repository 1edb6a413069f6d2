// Local rules in letters and in numbers. The letters come with the run, printed from the ops' own
// rules: g is the cotangent of the answer y; x is the one input, a, b, c are several. The numbers
// are the engine's: nothing is computed here a second time.

/** The letter of each input; none of a number, which stands in the rule itself. */
function letters(run, r) {
  const x = ([source]) => run.records[source];
  const isNumber = (input) =>
    x(input).kind === "constant" && Number.isFinite(x(input).value?.data?.[0]);
  const several = r.inputs.filter((input) => !isNumber(input)).length > 1;
  const letter = (k) => (several ? "abcdefhijklmnopqrstuvw"[k] : "x");
  return r.inputs.map((input, k) => (isNumber(input) ? "" : letter(k)));
}

/** The formula of a record: "y = tanh(x)". */
const formula = (r) =>
  r.formula && (r.sign || !r.own) ? `y = ${r.formula}` : say("rule_own", { op: r.op });

/** The gradient of an input, in letters. */
const ruleOf = (term) => term.rule || say("rule_unknown");

/** The elements a rule needs, at one place; null where one of them was not kept. */
function lettersAt(run, r, j) {
  const elementAt = (numbers, at) => numbers?.data?.[at] ?? null;
  const found = { g: elementAt(r.grad, j), y: elementAt(r.value, j) };
  const known = letters(run, r);
  r.inputs.forEach(([source, part], place) => {
    const x = run.records[source];
    const n = part < 0 ? sizeOf(x) : x.sizes[part];
    const at = n === sizeOf(r) ? j : n === 1 || j === 0 ? 0 : -1; // the first is the first of all
    found[known[place]] = elementAt(run.inputValue(r, place), at);
  });
  return found;
}

const LETTER = /(?<![\p{L}\d_])\p{L}(?![\p{L}\d_(])/gu;

/** The letters of a rule replaced by numbers; negative ones in brackets. */
function withNumbers(text, v) {
  const words = text.replace(LETTER, (letter) => (letter in v ? bracket(v[letter]) : letter));
  return words.replace(/(\d) (?=[\d(])/g, "$1 · "); // 2 g is 2 · 0.5
}

const bracket = (v) => (v < 0 ? `(${brief(v)})` : brief(v));

/** The first elements of what a step adds to an input: [{text, value}], or [] if not known. */
function examples(run, r, { numbers, rule }, most = 3) {
  if (!rule || rule === "g" || !numbers?.data) return [];
  if (!r.pointwise) return productExample(run, r, rule, numbers);
  if (numbers.data.length !== sizeOf(r)) return []; // what was broadcast gets a sum of these
  const found = [];
  for (let j = 0; j < Math.min(most, sizeOf(r)); j++) {
    const v = lettersAt(run, r, j);
    if ((rule.match(LETTER) || []).some((letter) => v[letter] === null)) break;
    found.push({ text: withNumbers(rule, v), value: numbers.data[j] });
  }
  return found;
}

/** The first element of a product of two matrices, as the sum it is. */
function productExample(run, r, rule, numbers) {
  const found = /^(\p{L})(ᵀ?) (\p{L})(ᵀ?)$/u.exec(rule);
  if (!found) return [];
  const row = lineOf(run, r, found[1], !found[2]);
  const column = lineOf(run, r, found[3], Boolean(found[4]));
  if (!row || !column || row.length !== column.length) return [];
  const words = row.map((v, k) => `${bracket(v)} · ${bracket(column[k])}`);
  const text = words.slice(0, 3).join(" + ") + (words.length > 3 ? " + …" : "");
  return [{ text, value: numbers.data[0] }];
}

/** The first row of what a letter stands for, or its first column; null where it is not known. */
function lineOf(run, r, letter, isRow) {
  const place = letters(run, r).indexOf(letter);
  const x = place < 0 ? r : run.records[r.inputs[place][0]];
  const known = place >= 0 ? run.inputValue(r, place) : letter === "g" ? r.grad : r.value;
  if (!known?.data || x.shape?.length !== 2) return null;
  const [n, m] = x.shape;
  return isRow ? known.data.slice(0, m) : Array.from({ length: n }, (_, i) => known.data[i * m]);
}
