// The page: what is chosen, and what is drawn when a choice changes.
const embedded = [...document.querySelectorAll("script.set-data")];
const sets = []; // read when they are first shown
const form = find("filters");
let set = null;
let shown = new Set();

const href = (id) => {
  const parts = embedded.length > 1 ? [["set", set.name], ["utt", id]] : [["utt", id]];
  return `#${parts.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&")}`;
};
const list = new List(find("list"), href);
const shownRuns = () => set.shownRuns(shown, find("seed").value, find("run").value);

function options(select, entries) {
  select.replaceChildren(...entries.map(([value, name]) => el("option", { value }, name)));
}

function showSet(number) {
  sets[number] ??= new TestSet(embedded[number].textContent);
  set = sets[number];
  shown = new Set(set.systems.map((_, s) => s));
  if (find("set")) find("set").value = String(number);
  for (const part of document.querySelectorAll(".of-set")) {
    part.hidden = part.dataset.set !== String(number);
    // Once, when it is first seen: only then are the widths of its tables known.
    if (!part.hidden) part.querySelectorAll("table.figures:not(.enhanced)").forEach(enhance);
  }
  const { seeds } = set;
  options(find("seed"), [...seeds, ...(seeds.length ? [] : [""]), "all"].map((seed) => [seed, seed]));
  find("seed-control").hidden = seeds.length < 2;
  showMembers();
  for (const name of ["speakers", "words", "utterances"])
    find(`${name}-title`).textContent = name[0].toUpperCase() + name.slice(1) + set.mark;
  find("speakers").hidden = find("speaker-control").hidden = !set.speakers;
  document.querySelector("nav [href='#speakers']").hidden = !set.speakers;
  options(find("speaker"), [["", "all"], ...(set.speakers?.names ?? []).map((name, i) => [String(i), name])]);
  const systems = set.systems.map(({ name }, s) => [String(s), name]);
  options(find("wrong"), [["", "any system"], ...systems]);
  options(find("right"), [["", "—"], ...systems]);
  find("legend").replaceChildren(...set.systems.map(legendEntry));
  const left = set.total - set.size;
  find("left-out").hidden = !left;
  find("left-out").textContent = left ? leftOut() : "";
  form.reset();
  showPanels();
  showList();
}

/** Members of a role: the first of them, the second, or all of the seed that is chosen. */
function showMembers() {
  const most = Math.max(1, ...set.ofSeed(find("seed").value).map((runs) => runs.length));
  const members = Array.from({ length: most }, (_, r) => [String(r), String(r + 1)]);
  options(find("run"), [...members, ["all", "all"]]);
  find("run-control").hidden = most === 1;
  if (find("seed").value === "all") find("run").value = "all";
}

function leftOut() {
  const page = `${plural(set.size, "utterance")} of ${set.total.toLocaleString("en")} are in this page`;
  const wrong = `those with errors`;
  return set.size < set.erring
    ? `${page}: of ${wrong} (${set.erring.toLocaleString("en")}) the ones with the most. Figures, speakers and words above are of all.`
    : `${page}: ${wrong}, in some system. Figures, speakers and words above are of all.`;
}

function legendEntry({ name }, s) {
  const box = el("input", { type: "checkbox", checked: true, onchange: () => {
    if (box.checked) shown.add(s);
    else shown.delete(s);
    showPanels();
    showList();
  } });
  const symbol = svg("svg", { width: 14, height: 14, "aria-hidden": "true" }, mark(s, 7, 7));
  return el("label", {}, box, symbol, name);
}

function showPanels() {
  if (set.speakers) showSpeakers(find("speaker-table"), set, shown, chooseSpeaker);
  const name = document.querySelector("#lists input:checked").value;
  showWords(find("word-table"), set, shown, name, chooseError);
}

function showList() {
  const runs = shownRuns();
  const items = chosen(set, runs, readFilters(form));
  const all = items.length === set.size;
  find("count").textContent = all
    ? plural(items.length, "utterance")
    : items.length
      ? `${items.length.toLocaleString("en")} of ${plural(set.size, "utterance")}`
      : "No utterance is like this.";
  find("clear").hidden = all;
  list.show(set, runs, items);
}

function toList(focus) {
  showList();
  find("utterances").scrollIntoView();
  find(focus).focus({ preventScroll: true });
}

function chooseSpeaker(i) {
  form.reset();
  find("more").open = true;
  find("speaker").value = String(i);
  toList("speaker");
}

function chooseError({ kind, ref, hyp }) {
  form.reset();
  find("more").open = true;
  find("kind").value = kind;
  find("ref-word").value = ref;
  find("hyp-word").value = hyp;
  toList("kind");
}

/** Follows `#set=…&utt=…`. Filters that hide the utterance are cleared. */
function follow() {
  if (!/^#(set|utt)=/.test(location.hash)) return;
  const parts = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B"));
  const number = parts.has("set") ? [...(find("set")?.options ?? [])].findIndex((o) => o.text === parts.get("set")) : -1;
  if (number >= 0 && sets[number] !== set) showSet(number);
  const id = parts.get("utt");
  if (id === null) return;
  const u = set.index.get(id);
  if (u === undefined) {
    find("count").textContent = `Utterance ${id} is not in this page.`;
    find("utterances").scrollIntoView();
    return;
  }
  if (!list.items.includes(u)) {
    form.reset();
    showList();
  }
  list.go(u, coveredAbove());
}

find("set")?.addEventListener("change", (event) => showSet(event.target.selectedIndex));
find("seed").addEventListener("change", () => {
  showMembers();
  showList();
});
find("run").addEventListener("change", showList);
find("lists").addEventListener("change", showPanels);
form.addEventListener("submit", (event) => event.preventDefault());
find("clear").addEventListener("click", () => {
  form.reset();
  toList("search");
});
form.addEventListener("change", showList);
form.addEventListener("input", debounced(150, showList));
addEventListener("hashchange", follow);

document.documentElement.classList.add("scripted");
if (embedded.length) {
  showSet(0);
  follow();
}
