// Elements, texts and figures.

const $ = (id) => document.getElementById(id);

/** Fills in the {words} of a text. */
const formatText = (text, values = {}) => text.replace(/\{(\w+)\}/g, (word, name) => values[name] ?? word);

const decimal = (number, digits) =>
  number.toLocaleString(STRINGS.language, { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false });
const count = (number) => Math.round(number).toLocaleString(STRINGS.language);
const percent = (share, digits = 1) => `${decimal(100 * share, digits)}\u00a0%`;
const megabytes = (bytes) =>
  bytes < 1e5
    ? formatText(STRINGS.kilobytes, { size: count(Math.ceil(bytes / 1e3)) })
    : formatText(STRINGS.megabytes, { size: decimal(bytes / 1e6, 1) });

/** An element with properties and children; text from outside is always text. */
function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** An icon, by the id of its symbol; it is hidden from screen readers, so put words beside it. */
function icon(id) {
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const [svg, use] = [document.createElementNS(NAMESPACE, "svg"), document.createElementNS(NAMESPACE, "use")];
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#${id}`);
  svg.append(use);
  return svg;
}

/** Announces a text to screen readers. */
const say = (text) => ($("status").textContent = text);

/** Puts the texts named by data-text and data-label into the page. */
function fillTexts() {
  const formats = new Intl.ListFormat(STRINGS.language, { type: "disjunction" }).format(SERVER.imageFormats);
  const values = { host: location.host, formats };
  document.documentElement.lang = STRINGS.language;
  document.title = STRINGS.title;
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = formatText(STRINGS[each.dataset.text], values);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", STRINGS[each.dataset.label]);
}

/** A problem document for what the browser found itself; `code` or `wording` names its texts. */
function browserProblem(code, values = {}, wording = code) {
  const { title, detail, remedy } = STRINGS.browserProblems[wording];
  return { title, detail: formatText(detail, values), remedy, code };
}

/** The problem document of whatever was thrown: an Error is a fault of this page, anything else is a document itself. */
function toProblem(thrown) {
  if (!(thrown instanceof Error)) return thrown;
  console.error(thrown);
  return browserProblem("browser");
}

/** A problem document with its translated texts, as far as there are any. */
const problemTexts = (problem) => ({ ...problem, ...STRINGS.problems[problem.code] });

/** Fills a box with a problem document; `retry`, if given, is what its button does. Returns the heading. */
function showProblem(box, problem, retry) {
  const { title, detail, remedy } = problemTexts(problem);
  const heading = make("h2", { tabIndex: -1 }, icon("failed"), title);
  const status = problem.status ? ` · ${formatText(STRINGS.status, problem)}` : "";
  box.replaceChildren(
    heading,
    make("p", {}, detail),
    make("p", {}, make("b", {}, `${STRINGS.remedy} `), remedy),
    make("p", { className: "small quiet" }, make("code", {}, problem.code), status),
  );
  if (retry) box.append(make("button", { type: "button", className: "button", onclick: retry }, STRINGS.retry));
  box.hidden = false;
  return heading;
}
