// Transcripts of one utterance under their reference: columns, and where they are broken to lines.
const PLAIN = /^[\x20-\x7e]*$/;
const LONGEST = 48; // characters of a word that are shown

/** Widths of words in characters of the fixed-width font; others than ASCII are measured. */
class Ruler {
  constructor(probe) {
    this.pixels = probe.getBoundingClientRect().width / probe.textContent.length;
    this.context = document.createElement("canvas").getContext("2d");
    const style = getComputedStyle(probe);
    this.context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    this.known = new Map();
  }

  width(word) {
    if (word.length > LONGEST) return LONGEST;
    if (PLAIN.test(word)) return word.length;
    let width = this.known.get(word);
    if (width === undefined) {
      width = this.context.measureText(word).width / this.pixels;
      this.known.set(word, width);
    }
    return width;
  }
}

const PADDING = 1; // characters between two columns

/**
 * Columns of an utterance: those of the reference's words, and before each as many as the run with
 * the most insertions there has. A cell is [letter, word], or RIGHT, or null where another run has an
 * insertion; cells that are right in every run are not stored.
 */
const RIGHT = ["=", null];

function columnsOf(set, u, runs) {
  const ref = words(set.ref[u]);
  const wrong = runs.map((run) => {
    if (run.edits[u] === 0) return null;
    const own = { at: new Map(), put: new Map() };
    for (const [letter, i, word] of set.errorsOf(u, run)) {
      if (letter !== "I") own.at.set(i, [letter, word]);
      else if (own.put.has(i)) own.put.get(i).push(word);
      else own.put.set(i, [word]);
    }
    return own;
  });
  if (wrong.every((own) => own === null)) return ref.map((word) => ({ word, cells: null }));
  const columns = [];
  for (let i = 0; i <= ref.length; i++) {
    const put = wrong.map((own) => own?.put.get(i) ?? EMPTY);
    const most = put.reduce((longest, own) => Math.max(longest, own.length), 0);
    for (let k = 0; k < most; k++)
      columns.push({ word: null, cells: put.map((own) => (k < own.length ? ["I", own[k]] : null)) });
    if (i < ref.length) {
      const right = wrong.every((own) => !own?.at.has(i));
      columns.push({ word: ref[i], cells: right ? null : wrong.map((own) => own?.at.get(i) ?? RIGHT) });
    }
  }
  return columns;
}

/** Widths of these columns, in characters; without making them, for they are wanted of all. */
function columnWidths(ruler, set, u, runs) {
  const plain = PLAIN.test(set.ref[u]) && runs.every((run) => run.edits[u] === 0 || PLAIN.test(run.edits[u]));
  const width = plain
    ? (word) => Math.min(word.length, LONGEST) + PADDING
    : (word) => ruler.width(word) + PADDING;
  const widths = words(set.ref[u]).map(width);
  const gaps = [];
  for (const run of runs) {
    let [gap, k] = [-1, 0];
    for (const [letter, i, word] of set.errorsOf(u, run)) {
      if (letter === "X") widths[i] = Math.max(widths[i], width(word));
      if (letter !== "I") continue;
      k = i === gap ? k + 1 : 0;
      gap = i;
      gaps[i] ??= [];
      gaps[i][k] = Math.max(gaps[i][k] ?? 0, width(word));
    }
  }
  return gaps.length ? Array.from({ length: widths.length + 1 }, (_, i) =>
    [...(gaps[i] ?? EMPTY), ...(i < widths.length ? [widths[i]] : EMPTY)]).flat() : widths;
}

/** Where lines of at most `room` characters begin; at least one column each. */
function breaks(widths, room) {
  const starts = [0];
  let used = 0;
  for (let c = 0; c < widths.length; c++) {
    if (used && used + widths[c] > room) {
      starts.push(c);
      used = 0;
    }
    used += widths[c];
  }
  return starts;
}

const DELETED = "–";

/** What a run has in a column of a reference word. */
function wordCell(cell, of) {
  if (cell === null) return el("td", { class: "gap" });
  const letter = cell[0];
  const word = letter === "=" ? of : cell[1];
  const shown = word === null ? DELETED : word.length > LONGEST ? `${word.slice(0, LONGEST - 1)}…` : word;
  const kinds = { X: "substituted", D: "deleted", I: "inserted" };
  const hidden = letter in kinds ? el("span", { class: "said" }, ` (${kinds[letter]})`) : null;
  const attributes = { class: letter === "=" ? "right" : letter };
  if (shown !== word && word !== null) attributes.title = word;
  return el("td", attributes, el("span", {}, shown), hidden);
}

/** One line of an utterance: the reference, then a row for each run. */
function lineTable(set, u, runs, columns, first) {
  const heading = (name, errors) =>
    el("th", { scope: "row", title: name }, el("span", { class: "name" }, name),
      first && errors !== null ? el("span", { class: errors ? "n wrong" : "n" }, errors ? `${errors}` : "✓") : null);
  const rows = [
    el("tr", { class: "reference" }, heading("reference", null),
      ...columns.map(({ word }) => wordCell(word === null ? null : RIGHT, word))),
  ];
  const right = runs.every((run) => run.edits[u] === 0);
  if (!right)
    runs.forEach((run, k) =>
      rows.push(el("tr", {}, heading(run.label, run.errors[u]), ...columns.map(({ word, cells }) => wordCell(cells === null ? RIGHT : cells[k], word)))));
  return el("table", { class: "line" }, el("tbody", {}, ...rows));
}
