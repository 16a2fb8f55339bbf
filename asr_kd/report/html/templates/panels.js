// Speakers and words: tables over the whole set, whatever utterances are in the page.
const RATE = "Errors of a system's runs, in the mean, in percent of the reference's words";

function showSpeakers(place, set, shown, choose) {
  const { names, utterances, words: counts, errors } = set.speakers;
  const systems = set.systems.map((system, s) => ({ name: system.name, s })).filter(({ s }) => shown.has(s));
  const rate = (i, s) => (counts[i] ? (100 * errors[s][i]) / counts[i] : null);
  const rows = names.map((_, i) => i);
  const scale = makeScale(
    [0, ...rows.flatMap((i) => systems.map(({ s }) => rate(i, s)))],
    isNarrow() ? 180 : 420,
  );
  const text = (value) => (value === null ? "—" : value.toFixed(2));
  const plot = (i) => {
    const values = systems.map(({ name, s }) => {
      const value = rate(i, s);
      return { system: s, value, title: `${name}: ${text(value)} %` };
    });
    return dots(scale, values, `${names[i]}: ${values.map(({ title }) => title).join(", ")}`);
  };
  const columns = [
    { name: "speaker", kind: "text", value: (i) => names[i], cell: (i) =>
      el("button", { type: "button", class: "link", title: "Show this speaker's utterances",
        onclick: () => choose(i) }, names[i]) },
    { name: "WER %", kind: "plot", axis: axis(scale), cell: plot },
    { name: "utts", note: "Utterances", value: (i) => utterances[i], cell: (i) => mean(utterances[i]) },
    { name: "words", note: "Words of the reference", value: (i) => counts[i], cell: (i) => mean(counts[i]) },
    ...systems.map(({ name, s }) => ({
      name, note: RATE, value: (i) => rate(i, s), cell: (i) => text(rate(i, s)),
    })),
  ];
  dataTable(place, "Speakers", columns, rows, systems[0]?.name ?? "words");
}

const LISTS = {
  pairs: { kind: "X", heads: ["reference", "hypothesis"] },
  substituted: { kind: "X", heads: ["reference"] },
  deleted: { kind: "D", heads: ["reference"] },
  inserted: { kind: "I", heads: ["hypothesis"] },
};

function showWords(place, set, shown, name, choose) {
  const { kind, heads } = LISTS[name];
  const { rows, distinct } = set.confusions[name];
  const systems = set.systems.map((system, s) => ({ name: system.name, s })).filter(({ s }) => shown.has(s));
  // A row: the words, then a mean count of each system, then the word's count in the reference.
  const count = (row, s) => row[heads.length + s];
  const total = (row) => systems.reduce((sum, { s }) => sum + count(row, s), 0);
  const seen = rows.filter((row) => total(row) > 0);
  const most = Math.max(1, ...seen.map((row) => Math.max(...systems.map(({ s }) => count(row, s)))));
  const chosen = (row) => ({
    kind,
    ref: heads[0] === "reference" ? row[0] : "",
    hyp: heads.at(-1) === "hypothesis" ? row[heads.length - 1] : "",
  });
  const columns = [
    ...heads.map((head, h) => ({
      name: head, kind: "text", value: (row) => row[h], cell: (row) =>
        h ? el("span", { class: "word" }, row[h])
          : el("button", { type: "button", class: "link word", title: "Show the utterances",
              onclick: () => choose(chosen(row)) }, row[h]),
    })),
    ...systems.map(({ name: system, s }) => ({
      name: system, note: "Times, the mean over the system's runs", value: (row) => count(row, s),
      cell: (row) => el("span", { class: "bar" }, bar(s, count(row, s) / most), mean(count(row, s))),
    })),
  ];
  if (heads[0] === "reference")
    columns.push({ name: "in reference", note: "How often the reference has the word",
      value: (row) => row.at(-1), cell: (row) => mean(row.at(-1)) });
  dataTable(place, "Words", columns, seen, null, 15);
  const note = rows.length < distinct
    ? `The ${rows.length} most frequent of ${distinct.toLocaleString("en")} are in this page.`
    : seen.length ? "" : "None.";
  if (note) place.append(el("p", { class: "note" }, note));
}

const bar = (system, share) =>
  svg("svg", { width: 64, height: 10, "aria-hidden": "true", class: "bar" },
    svg("rect", { class: `s${system % MARKS.length}`, x: 0, y: 0, height: 10, width: Math.max(0, 64 * share), rx: 1 }));
