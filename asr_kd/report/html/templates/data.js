// A test set as it is embedded (asr_kd/report/html/encode.py tells the format).
const EMPTY = [];
const words = (text) => (text ? text.split(" ") : EMPTY);

class TestSet {
  constructor(json) {
    Object.assign(this, JSON.parse(json));
    this.size = this.ids.length;
    this.index = new Map(this.ids.map((id, u) => [id, u]));
    this.runs = this.systems.flatMap((system, s) =>
      system.runs.map((run, r) => ({
        system: s,
        number: r,
        systemName: system.name,
        name: run.name,
        seed: run.seed,
        edits: run.edits,
        errors: Int32Array.from(run.edits, countErrors),
      })),
    );
    this.lengths = Int32Array.from(this.ref, (text) => words(text).length);
  }

  /** Seeds of training, in the order of the runs. */
  get seeds() {
    return [...new Set(this.runs.map(({ seed }) => seed))].filter((seed) => seed !== null);
  }

  /** Runs of each system that belong to a seed: its own, and those of every seed. */
  ofSeed(seed) {
    return this.systems.map((_, s) => this.runs.filter((run) =>
      run.system === s && (seed === "all" || run.seed === null || run.seed === seed)));
  }

  /** The runs of the systems that are shown: of one seed, and of its members one or all. */
  shownRuns(shown, seed, member) {
    const label = ({ system, systemName, name }) =>
      this.systems[system].runs.length > 1 && name ? `${systemName} · ${name}` : systemName;
    return this.ofSeed(seed)
      .flatMap((runs) => (member === "all" ? runs : runs.slice(Math.min(Number(member), runs.length - 1)).slice(0, 1)))
      .filter((run) => shown.has(run.system))
      .map((run) => ({ ...run, label: label(run) }));
  }

  /** Steps of one hypothesis: [letter, reference index, hypothesis word or null]. Wrong ones only. */
  *errorsOf(u, run) {
    const edits = run.edits[u];
    if (edits === 0) return;
    const [codes, ...put] = edits.split(" ");
    let [i, next, length] = [0, 0, 0];
    for (const letter of codes) {
      if (letter <= "9") { // digits come before letters, and before "="
        length = 10 * length + Number(letter);
        continue;
      }
      for (let n = length || 1; n > 0; n--) {
        if (letter === "X") yield ["X", i++, put[next++]];
        else if (letter === "D") yield ["D", i++, null];
        else if (letter === "I") yield ["I", i, put[next++]];
        else i++;
      }
      length = 0;
    }
  }

  hypothesis(u, run) {
    const out = words(this.ref[u]).map((word) => [word]);
    out.push([]);
    for (const [letter, i, word] of this.errorsOf(u, run)) {
      const last = out[i].length - 1;
      if (letter === "I") out[i].splice(i < out.length - 1 ? last : last + 1, 0, word);
      else out[i][last] = letter === "X" ? word : "";
    }
    return out.flat().filter(Boolean).join(" ");
  }

  /** What the search looks through, in lower case; made when it is first needed. */
  get haystacks() {
    const speaker = (u) => (this.speakers ? this.speakers.names[this.speaker[u]] : "");
    this.made ??= this.ids.map((id, u) => {
      const texts = this.runs.filter((run) => run.edits[u]).map((run) => this.hypothesis(u, run));
      return [id, speaker(u), this.ref[u], ...new Set(texts)].join("\n").normalize().toLowerCase();
    });
    return this.made;
  }
}

function countErrors(edits) {
  if (edits === 0) return 0;
  let errors = 0;
  let length = 0;
  for (let k = 0; k < edits.length; k++) {
    const code = edits.charCodeAt(k);
    if (code === 32) break; // the words begin
    if (code >= 48 && code <= 57) length = 10 * length + code - 48;
    else {
      if (code !== 61) errors += length || 1; // 61 is "=", right
      length = 0;
    }
  }
  return errors;
}
