// The utterances: a list as high as all of them, in which only what is near the screen is made.
const MANY_LINES = 40; // an utterance with more makes its lines, too, as they are seen

class List {
  constructor(place, href) {
    this.place = place;
    this.href = href;
    this.made = new Map(); // position -> {article, columns, starts, lines}
    this.items = [];
    this.offsets = new Float64Array(1);
    this.target = -1;
    let waiting = false;
    const later = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; this.update(); });
    };
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", later);
    place.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      if (place.clientWidth !== this.width) this.relayout();
    }).observe(place);
  }

  /** Shows utterances `items` of `set`, in this order. */
  show(set, runs, items) {
    const of = String(runs.map((run) => [run.system, run.number]));
    if (set !== this.set || of !== this.of) Object.assign(this, { of, widths: [] });
    Object.assign(this, { set, runs, items });
    this.layout();
    this.update();
  }

  relayout() {
    if (!this.set) return;
    const first = this.firstSeen();
    const below = first < 0 ? 0 : this.top() + this.offsets[first];
    this.layout();
    if (first >= 0) scrollBy(0, this.top() + this.offsets[first] - below);
    this.update();
  }

  layout() {
    for (const position of this.made.keys()) this.remove(position);
    const rem = remPixels();
    this.width = this.place.clientWidth;
    const probe = el("span", { class: "probe" }, "0".repeat(100));
    this.place.append(probe);
    this.ruler = new Ruler(probe);
    probe.remove();
    const longest = Math.max(9, ...this.runs.map((run) => run.label.length));
    const label = Math.min(longest + 4, isNarrow() ? 14 : 26); // characters, the count among them
    this.place.style.setProperty("--label", `${label}ch`);
    this.room = Math.max(12, Math.floor((this.width - 2 * rem) / this.ruler.pixels) - label - 1);
    this.row = Math.ceil(1.5 * rem); // as the style sheet has it
    this.head = Math.ceil(2.1 * rem); // whole pixels: of millions, fractions are lost
    this.space = Math.ceil(0.5 * rem);
    this.offsets = new Float64Array(this.items.length + 1);
    this.items.forEach((u, k) => {
      const height = this.head + this.countLines(u) * this.lineHeight(u) + this.space;
      this.offsets[k + 1] = this.offsets[k] + height;
    });
    this.place.style.height = `${this.offsets.at(-1)}px`;
  }

  /** Where an utterance's lines begin. Widths stay, whatever is filtered and however wide the page. */
  starts(u) {
    this.widths[u] ??= columnWidths(this.ruler, this.set, u, this.runs);
    return breaks(this.widths[u], this.room);
  }

  /** Most utterances surely fit on one line: the reference and all that is edited, end to end. */
  countLines(u) {
    const { ref } = this.set;
    let most = ref[u].length;
    let plain = PLAIN.test(ref[u]);
    for (const { edits } of this.runs) {
      if (edits[u] === 0) continue;
      most += edits[u].length; // a space and a word for each that is put in, as its column takes
      plain &&= PLAIN.test(edits[u]);
    }
    return plain && most + PADDING <= this.room ? 1 : this.starts(u).length;
  }

  lineHeight(u) {
    const rows = this.runs.some((run) => run.edits[u] !== 0) ? 1 + this.runs.length : 1;
    return rows * this.row + this.space;
  }

  top() {
    return this.place.getBoundingClientRect().top;
  }

  /** Position of the utterance at `y` pixels from the list's beginning. */
  at(y) {
    let [low, high] = [0, this.items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.offsets[middle + 1] <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  firstSeen() {
    const y = -this.top();
    return y > 0 ? Math.min(this.at(y), this.items.length - 1) : -1;
  }

  /** Makes what is within a screen of the screen, removes the rest; what has the focus stays. */
  update() {
    const y = -this.top();
    const [from, to] = [y - innerHeight, y + 2 * innerHeight];
    const [first, last] = [this.at(from), Math.min(this.items.length - 1, this.at(to))];
    for (const [position, { article }] of this.made)
      if ((position < first || position > last) && !article.contains(document.activeElement))
        this.remove(position);
    for (let position = first; position <= last; position++) {
      if (!this.made.has(position)) this.make(position);
      this.lines(position, from - this.offsets[position], to - this.offsets[position]);
    }
  }

  remove(position) {
    this.made.get(position).article.remove();
    this.made.delete(position);
  }

  make(position) {
    const { set, runs } = this;
    const u = this.items[position];
    const columns = columnsOf(set, u, runs);
    const starts = this.starts(u);
    const id = set.ids[u];
    const facts = [plural(set.lengths[u], "word")];
    if (set.speakers) facts.unshift(set.speakers.names[set.speaker[u]]);
    if (runs.length && runs.every((run) => run.edits[u] === 0)) facts.push("all right");
    const article = el("article", {
      "aria-label": id, "aria-posinset": position + 1, "aria-setsize": this.items.length,
      class: u === this.target ? "target" : null,
    }, el("h3", {}, el("a", { href: this.href(id), title: "Link to this utterance" }, id),
      ...facts.map((fact) => el("span", {}, fact))));
    article.style.top = `${this.offsets[position]}px`;
    article.style.height = `${this.offsets[position + 1] - this.offsets[position]}px`;
    this.made.set(position, { article, columns, starts, lines: new Map() });
    const next = [...this.made.keys()].filter((other) => other > position).sort((a, b) => a - b)[0];
    this.place.insertBefore(article, next === undefined ? null : this.made.get(next).article);
  }

  lines(position, from, to) {
    const { article, columns, starts, lines } = this.made.get(position);
    const u = this.items[position];
    const height = this.lineHeight(u);
    const all = starts.length <= MANY_LINES;
    const first = all ? 0 : Math.max(0, Math.floor((from - this.head) / height));
    const last = all ? starts.length - 1 : Math.min(starts.length - 1, Math.ceil((to - this.head) / height));
    for (const [k, table] of lines)
      if (k < first || k > last) {
        table.remove();
        lines.delete(k);
      }
    for (let k = first; k <= last; k++) {
      if (lines.has(k)) continue;
      const table = lineTable(this.set, u, this.runs, columns.slice(starts[k], starts[k + 1]), k === 0);
      table.style.top = `${this.head + k * height}px`;
      lines.set(k, table);
      article.append(table);
    }
  }

  /** Scrolls to utterance `u` and gives it the focus; whether it is in the list. */
  go(u, margin) {
    const position = this.items.indexOf(u);
    if (position < 0) return false;
    this.target = u;
    for (const { article } of this.made.values()) article.classList.remove("target");
    this.focus(position, margin);
    return true;
  }

  focus(position, margin) {
    const seen = this.top() + this.offsets[position];
    if (seen < margin || this.top() + this.offsets[position + 1] > innerHeight) scrollBy(0, seen - margin - 8);
    this.update();
    const { article } = this.made.get(position);
    article.classList.toggle("target", this.items[position] === this.target);
    article.querySelector("a").focus({ preventScroll: true });
  }

  /** Page Up and Page Down go to the utterance before and after, as feeds have it. */
  key(event) {
    const step = { PageDown: 1, PageUp: -1 }[event.key];
    if (!step) return;
    const article = document.activeElement.closest("article");
    const position = Number(article?.getAttribute("aria-posinset")) - 1 + step;
    if (!article || position < 0 || position >= this.items.length) return;
    event.preventDefault();
    this.focus(position, coveredAbove());
  }
}

/** Height of what sticks to the top of the screen. */
function coveredAbove() {
  const bar = find("filters");
  return getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0;
}
