// Numbers: read from the page's data, put into words, and coloured.

const real = (v) => (typeof v === "string" ? Number(v) : v); // JSON has no NaN: it is a word there

/** What the tape says of an array, with all that follows from its elements. */
function measured(given) {
  if (!given) return null;
  const known = { nan: 0, infinite: 0 };
  for (const [key, value] of Object.entries(given))
    known[key] = Array.isArray(value) ? value.map(real) : real(value);
  return known.data ? { ...known, ...statisticsOf(known.data) } : known;
}

function statisticsOf(data) {
  const finite = data.filter(Number.isFinite);
  const nan = data.filter(Number.isNaN).length;
  const told = { nan, infinite: data.length - finite.length - nan };
  if (!finite.length) return told;
  const average = finite.reduce((a, b) => a + b, 0) / finite.length;
  return { ...told, least: Math.min(...finite), largest: Math.max(...finite), average };
}

/** The elementwise sum of some arrays, all of them known. */
function added(arrays) {
  const data = arrays[0].map((_, j) => arrays.reduce((sum, a) => sum + a[j], 0));
  return measured({ l2: norm(data), data });
}

const norm = (data) => (data.some(Number.isNaN) ? NaN : Math.hypot(...data));

/** A number in a few characters: 0.25, 12.5, 1.2e-3, NaN, ∞. */
function brief(v) {
  if (v === null || v === undefined) return "–";
  if (Number.isNaN(v)) return "NaN";
  if (!Number.isFinite(v)) return v > 0 ? "∞" : "−∞";
  const size = Math.abs(v);
  const plain = size === 0 || (size >= 0.001 && size < 10000);
  const short = () => String(Number(v.toPrecision(size < 999.5 ? 3 : 4))); // whole ones are whole
  return (plain ? short() : v.toExponential(1).replace("e+", "e")).replace(/-/g, "−");
}

/** The power of ten in which numbers that go up to `most` are short: 0 where they are anyway. */
function decadeOf(most) {
  const decade = most ? Math.floor(Math.log10(most)) : 0;
  return decade < -1 || decade > 1 ? decade : 0;
}

/** A number where there is no room: .25, −.3, 12. */
function briefest(v) {
  if (!Number.isFinite(v)) return brief(v);
  const text = v.toFixed(Math.abs(v) < 0.995 ? 2 : Math.abs(v) < 9.95 ? 1 : 0);
  return (Number(text) === 0 ? "0" : text).replace(/^(-?)0\./, "$1.").replace("-", "−");
}

const shapeWords = (r) =>
  r.shape === null ? say("parts", { n: r.sizes.length }) : r.shape.join("×") || say("number");

const sizeOf = (r) => (r.shape || []).reduce((a, b) => a * b, 1);

// -- colours --------------------------------------------------------------------------------------

const json = (id) => JSON.parse(document.getElementById(id).textContent);
const SCALE = json("data").scale; // of the pictures: from 1e-6 over 1 to 1e6, always
const SIGNS = {
  light: { low: "#e08214", middle: "#ffffff", high: "#765ead" },
  dark: { low: "#c4741e", middle: "#262e38", high: "#806cbe" },
};
let theme = "light";

/** The colour at x, from -1 to 1, of a scale with two ends and a middle. */
function mixed({ low, middle, high }, x) {
  const [from, to] = [middle, x < 0 ? low : high].map((colour) =>
    [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16)),
  );
  const part = Math.min(1, Math.abs(x));
  return `rgb(${from.map((m, i) => Math.round(m + (to[i] - m) * part)).join(",")})`;
}

const isLoud = (l2) => l2 !== null && !Number.isFinite(l2);

/** Where a norm stands on the scale: -1 at 1e-6 and below, 0 at 1, 1 at 1e6 and above. */
const placeOf = (l2) => Math.max(-1, Math.min(1, Math.log10(l2) / SCALE.decades));

/** The colour of a norm; none, and 0, have no place on the scale. What is not finite is hatched. */
function normColour(l2, scale = SCALE[theme]) {
  if (!l2 && !isLoud(l2)) return scale.none;
  if (isLoud(l2)) return "url(#hatch)";
  const x = placeOf(l2);
  return mixed(scale, Math.sign(x) * Math.abs(x) ** SCALE.exponent);
}

/** That of a line, which is seen on the paper: that of 1 is no paper. */
const lineColour = (l2) => normColour(l2, { ...SCALE[theme], middle: SCALE.line });

/** Whether a norm's colour is so deep that only white can be read on it. */
const isDeep = (l2) => Boolean(l2) && !isLoud(l2) && Math.abs(placeOf(l2)) > SCALE.deep;

/** The width of a norm's line: a thin one has vanished, a thick one explodes. */
const normWidth = (l2) => (isLoud(l2) ? 5 : 2.4 + 1.9 * placeOf(l2));

const signColour = (v, most) =>
  Number.isFinite(v) ? mixed(SIGNS[theme], most ? (0.85 * v) / most : 0) : "";
