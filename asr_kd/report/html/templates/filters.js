// Which utterances are listed, and in which order.
function readFilters(form) {
  const value = (id) => find(id).value;
  return {
    search: value("search").trim().normalize().toLowerCase(),
    show: form.elements.show.value,
    order: value("order"),
    speaker: value("speaker"),
    kind: value("kind"),
    ref: value("ref-word").trim(),
    hyp: value("hyp-word").trim(),
    wrong: value("wrong"),
    right: value("right"),
  };
}

/** Of a set's utterances those that fit, as indices, in order. `runs` are those that are shown. */
function chosen(set, runs, filters) {
  const tests = [];
  const { search, show, speaker } = filters;
  if (speaker !== "") tests.push((u) => set.speaker[u] === Number(speaker));
  if (show === "errors") tests.push((u) => runs.some((run) => run.edits[u] !== 0));
  if (show === "differ") tests.push((u) => runs.some((run) => run.edits[u] !== runs[0].edits[u]));
  if (filters.kind || filters.ref || filters.hyp || filters.wrong || filters.right)
    tests.push(errorTest(set, runs, filters));
  if (search) {
    const haystacks = set.haystacks;
    const words = search.replace(/\s+/g, " ");
    tests.push((u) => haystacks[u].includes(words));
  }
  const items = [];
  for (let u = 0; u < set.size; u++) if (tests.every((test) => test(u))) items.push(u);
  return ordered(set, runs, items, filters.order);
}

/** Errors of some kind, of some words, that one system makes and another does not. */
function errorTest(set, runs, { kind, ref, hyp, wrong, right }) {
  const of = (system) => runs.filter((run) => run.system === Number(system));
  const makers = wrong === "" ? runs.filter((run) => right === "" || run.system !== Number(right)) : of(wrong);
  const others = right === "" ? [] : of(right);
  return (u) => {
    const reference = words(set.ref[u]);
    const places = new Set();
    for (const other of others)
      for (const [letter, i] of set.errorsOf(u, other)) places.add(letter === "I" ? -1 - i : i);
    for (const run of makers)
      for (const [letter, i, word] of set.errorsOf(u, run)) {
        if (kind && letter !== kind) continue;
        if (ref && (letter === "I" || reference[i] !== ref)) continue;
        if (hyp && word !== hyp) continue;
        if (!places.has(letter === "I" ? -1 - i : i)) return true;
      }
    return false;
  };
}

function ordered(set, runs, items, order) {
  const errors = (u) => runs.reduce((sum, run) => sum + run.errors[u], 0);
  const spread = (u) => {
    const counts = runs.map((run) => run.errors[u]);
    return Math.max(...counts) - Math.min(...counts);
  };
  const keys = {
    errors,
    rate: (u) => errors(u) / Math.max(1, set.lengths[u]),
    spread: runs.length ? spread : () => 0,
  };
  if (order === "id") return items.sort((a, b) => compareText(set.ids[a], set.ids[b]));
  if (!(order in keys)) return items;
  const values = new Map(items.map((u) => [u, keys[order](u)]));
  return items.sort((a, b) => values.get(b) - values.get(a) || a - b);
}
