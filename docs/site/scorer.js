// What a page has of the words asked for decides where it stands, above all in its title; of two
// that have as much a how-to page is first.
const asked = new URLSearchParams(location.search).get("q") || "";
var Scorer = {
  score: ([page, title, anchor, , score]) => {
    const { docnames, terms, titleterms } = Search._index;
    const place = docnames.indexOf(page);
    const has = (table) => (word) => Object.hasOwn(table, word) && [table[word]].flat().includes(place);
    const words = [...Search._parseQuery(asked)[1]];
    const found = 10 * words.filter(has(titleterms)).length + 5 * words.filter(has(terms)).length;
    const whole = !anchor && title.toLowerCase().includes(asked.trim().toLowerCase()) ? 10 : 0;
    return score + found + whole + (page.startsWith("howto/") ? 5 : 0);
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
