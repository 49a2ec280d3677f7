const $ = (id) => document.getElementById(id);

/** The film on show, or null: {bytes, name, facts, width, height, grey, probability, side, seconds}. */
let film = null;
let pending = null;

const count = (number) => Math.round(number).toLocaleString("en");
const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u00a0%`;
const megabytes = (bytes) => (bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
const threshold = () => Number($("threshold").value);

/** An element with properties and children; text from outside is always text. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A sign of this page, by the id of its symbol; words stand beside it. */
function icon(id) {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const [svg, use] = [document.createElementNS(NAMESPACE, "svg"), document.createElementNS(NAMESPACE, "use")];
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${id}`);
  svg.append(use);
  return svg;
}
