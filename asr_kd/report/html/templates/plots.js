// Inline pictures: whiskers and dots on one scale for all rows of a table.
const MARKS = [
  (x, y) => svg("circle", { cx: x, cy: y, r: 4.5 }),
  (x, y) => svg("rect", { x: x - 4, y: y - 4, width: 8, height: 8 }),
  (x, y) => svg("path", { d: `M${x} ${y - 5.2}l5 9h-10z` }),
  (x, y) => svg("path", { d: `M${x} ${y - 5.8}l5.8 5.8l-5.8 5.8l-5.8-5.8z` }),
  (x, y) => svg("path", { d: `M${x} ${y + 5.2}l5-9h-10z` }),
  (x, y) => svg("path", { d: `M${x - 1.5} ${y - 5}h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z` }),
];
const HEIGHT = 28;
const MARGIN = 8;

/** A system's own shape and colour, the same everywhere; both differ for the first six. */
function mark(system, x, y, title = null) {
  const shape = MARKS[(system + Math.floor(system / MARKS.length)) % MARKS.length](x, y);
  shape.setAttribute("class", `mark s${system % MARKS.length}`);
  if (title) shape.append(svg("title", {}, title));
  return shape;
}

/** The scale of all rows of a table: x of a number, and round numbers for an axis. */
function makeScale(numbers, width) {
  const known = numbers.filter((n) => n !== null && Number.isFinite(n));
  let low = known.length ? known.reduce((a, b) => Math.min(a, b)) : 0;
  let high = known.length ? known.reduce((a, b) => Math.max(a, b)) : 1;
  if (low > 0 && low < 0.4 * high) low = 0; // nearly there: bars of a rate begin at nothing
  if (high < 0 && high > 0.4 * low) high = 0;
  if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  let step = niceStep((high - low) / (width / 50));
  let ticks = multiples(step, low, high);
  if (ticks.length < 2) {
    step = niceStep(step * 0.4);
    ticks = multiples(step, low, high);
  }
  const x = (n) => MARGIN + ((n - low) / (high - low)) * (width - 2 * MARGIN);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return { x, ticks, width, label: (n) => (Math.abs(n) < step / 2 ? "0" : n.toFixed(digits)) };
}

function multiples(step, low, high) {
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, k) => (first + k) * step);
}

function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((n) => n * power >= rough * 0.999);
}

const picture = (width, height, label, ...children) =>
  svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    ...children);

function axis(scale) {
  const labels = scale.ticks.map((n) => {
    const x = scale.x(n);
    const anchor = x < 16 ? "start" : x > scale.width - 16 ? "end" : "middle";
    const at = anchor === "start" ? x - 4 : anchor === "end" ? x + 4 : x;
    return svg("text", { x: at, y: 11, "text-anchor": anchor }, scale.label(n));
  });
  const drawn = picture(scale.width, 14, "", ...labels);
  drawn.setAttribute("aria-hidden", "true");
  drawn.setAttribute("class", "axis");
  return drawn;
}

function grid(scale) {
  return scale.ticks.map((n) =>
    svg("line", {
      class: Math.abs(n) < 1e-12 ? "zero" : "grid", x1: scale.x(n), x2: scale.x(n), y1: 0, y2: HEIGHT,
    }));
}

function whisker(scale, { value, low, high, text }, name) {
  const parts = grid(scale);
  const y = HEIGHT / 2;
  if (low !== null) {
    const [a, b] = [scale.x(low), scale.x(high)];
    parts.push(svg("path", { class: "whisker", d: `M${a} ${y}H${b}M${a} ${y - 4}v8M${b} ${y - 4}v8` }));
  }
  if (value !== null) parts.push(svg("circle", { class: "dot", cx: scale.x(value), cy: y, r: 4 }));
  return picture(scale.width, HEIGHT, `${name}: ${text}`, ...parts);
}

/** A speaker's row: a dot for each system that is shown, and the line from the best to the worst. */
function dots(scale, values, label) {
  const y = HEIGHT / 2;
  const known = values.filter(({ value }) => value !== null);
  const ends = known.map(({ value }) => scale.x(value));
  const range = ends.length > 1
    ? [svg("line", { class: "range", x1: Math.min(...ends), x2: Math.max(...ends), y1: y, y2: y })]
    : [];
  let [last, step] = [-Infinity, 0]; // dots that would hide one another stand above and below
  const drawn = [...known].sort((a, b) => a.value - b.value).map(({ system, value, title }) => {
    const x = scale.x(value);
    step = x - last < 6 ? step + 1 : 0;
    last = x;
    return mark(system, x, y + [0, 7, -7][step % 3], title);
  });
  return picture(scale.width, HEIGHT, label, ...grid(scale), ...range, ...drawn);
}
