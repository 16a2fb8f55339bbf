// Elements are made from text only: nothing that comes from data is ever parsed as HTML.
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

const el = (name, attributes = {}, ...children) =>
  fill(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);
const find = (id) => document.getElementById(id);

const remPixels = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
const isNarrow = () => matchMedia("(max-width: 44rem)").matches;
const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const percent = (rate) => (Number.isFinite(rate) ? (100 * rate).toFixed(1) : "—");
/** A mean of counts: whole where it is whole. */
const mean = (n) => (Number.isInteger(n) ? n.toLocaleString("en") : n.toFixed(1));

function compareText(a, b) {
  return compareText.collator.compare(a, b);
}
compareText.collator = new Intl.Collator("en", { numeric: true });

function debounced(milliseconds, action) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}
