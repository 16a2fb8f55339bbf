// Transcripts of one utterance under their reference: columns, and where they are broken to lines.
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
    if (/^[\x20-\x7e]*$/.test(word)) return word.length;
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
 * the most insertions there has. A cell is [letter, word]; right words are not stored.
 */
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
    const most = Math.max(...put.map((inserted) => inserted.length));
    for (let k = 0; k < most; k++)
      columns.push({ word: null, cells: put.map((own) => (k < own.length ? ["I", own[k]] : null)) });
    if (i < ref.length) {
      const cells = wrong.map((own) => own?.at.get(i) ?? ["=", ref[i]]);
      columns.push({ word: ref[i], cells });
    }
  }
  return columns;
}

function columnWidth(ruler, { word, cells }) {
  let width = word === null ? 1 : ruler.width(word);
  for (const cell of cells ?? EMPTY)
    if (cell !== null && cell[0] !== "=" && cell[1] !== null) width = Math.max(width, ruler.width(cell[1]));
  return width + PADDING;
}

/** Where lines of at most `room` characters begin; at least one column each. */
function breaks(ruler, columns, room) {
  const starts = [0];
  let used = 0;
  columns.forEach((column, c) => {
    const width = columnWidth(ruler, column);
    if (used && used + width > room) {
      starts.push(c);
      used = 0;
    }
    used += width;
  });
  return starts;
}

/** How many lines an utterance takes; without making its columns where all is right. */
function countLines(ruler, set, u, runs, room) {
  if (runs.some((run) => run.edits[u] !== 0)) return breaks(ruler, columnsOf(set, u, runs), room).length;
  const text = set.ref[u];
  if (text.length + PADDING <= room && /^[\x20-\x7e]*$/.test(text)) return 1;
  return breaks(ruler, columnsOf(set, u, runs), room).length;
}

const DELETED = "–";

function wordCell(cell, reference = false) {
  if (cell === null) return el("td", { class: "gap" });
  const [letter, word] = cell;
  const shown = word === null ? DELETED : word.length > LONGEST ? `${word.slice(0, LONGEST - 1)}…` : word;
  const kinds = { X: "substituted", D: "deleted", I: "inserted" };
  const hidden = letter in kinds ? el("span", { class: "said" }, ` (${kinds[letter]})`) : null;
  const attributes = { class: reference ? "ref" : letter === "=" ? "right" : letter };
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
      ...columns.map(({ word }) => wordCell(word === null ? null : ["=", word], true))),
  ];
  const right = runs.every((run) => run.edits[u] === 0);
  if (!right)
    runs.forEach((run, k) =>
      rows.push(el("tr", {}, heading(run.name, run.errors[u]), ...columns.map(({ cells }) => wordCell(cells[k])))));
  return el("table", { class: "line" }, el("tbody", {}, ...rows));
}
