// The panel: verdict, measurements and details of the image on show.

/** Rejected images show no mask until the user asks for it. */
const isRejected = (entry) => entry.facts.verdict.decision === "reject";
const isWithheld = (entry) => isRejected(entry) && !entry.isRevealed;

const threshold = () => Number($("threshold").value);

/** Shows everything that depends on the threshold. */
function reportThreshold() {
  const { facts, usual } = image.entry;
  const at = threshold();
  const text = decimal(at, 2);
  const areas = measureAreas(at);
  const about = areas.isExact ? "" : "≈ ";
  const total = facts.image.width * facts.image.height;
  const spacing = facts.image.spacing_mm;
  const share = (area) => percent(area / total);
  for (const lung of ["right", "left", "both"]) {
    const area = areas[lung];
    const [pixels, square, part] = document.querySelectorAll(`[data-lung=${lung}] td`);
    // An estimate is good to about four figures.
    pixels.textContent = about + count(areas.isExact ? area : Number(area.toPrecision(4)));
    square.textContent = spacing ? about + decimal((area * spacing.row * spacing.column) / 100, 1) : STRINGS.unknown;
    part.textContent = about + share(area);
  }
  $("ratio").textContent = areas.right && areas.left ? about + decimal(areas.right / areas.left, 2) : STRINGS.oneLung;
  $("measurements").textContent = formatText(STRINGS.measurements, { threshold: text });
  $("downloads").textContent = isWithheld(image.entry) ? STRINGS.downloads : formatText(STRINGS.downloadsAt, { threshold: text });
  $("threshold-value").textContent = text;
  $("threshold").setAttribute("aria-valuetext", formatText(STRINGS.thresholdValue, { threshold: text, share: share(areas.both) }));
  $("source").textContent = areas.isExact ? STRINGS.measured : formatText(STRINGS.estimated, { threshold: decimal(facts.threshold, 2) });
  $("measure").hidden = areas.isExact;
  $("reset").hidden = at === usual;
  const decision = STRINGS.states[facts.verdict.decision];
  const shares = { right: share(areas.right), left: share(areas.left), both: share(areas.both) };
  const label = isWithheld(image.entry) ? STRINGS.withheldLabel : STRINGS.imageLabel;
  canvas.setAttribute("aria-label", formatText(label, { decision, threshold: text, ...shares }));
}

/** The lungs' areas in pixels of the whole image: the server's at its threshold, else estimates from the preview. */
function measureAreas(at) {
  const { facts } = image.entry;
  const isExact = at === facts.threshold;
  const factor = (facts.image.width * facts.image.height) / (image.width * image.height);
  const [right, left] = ["right", "left"].map((lung) => (isExact ? facts.lungs[lung].pixels : shown[lung].area * factor));
  return { isExact, right, left, both: right + left };
}

/** The text of a verdict's reason. */
function reasonText({ code, text }) {
  return STRINGS.reasons[code] ?? text;
}

/** Shows what the server reported about the image. */
function reportFacts() {
  const { entry } = image;
  const { verdict, image: read, model, milliseconds } = entry.facts;
  const [word, advice] = STRINGS.advice[verdict.decision];
  document.querySelector(".verdict").dataset.decision = verdict.decision;
  $("decision").replaceChildren(icon(verdict.decision), word);
  $("advice").textContent = advice;
  $("reasons").replaceChildren(
    ...verdict.reasons.map((reason) =>
      make("li", {}, make("b", {}, reason.decision === "accept" ? `${STRINGS.note} ` : ""), `${reasonText(reason)} `, make("code", {}, reason.code)),
    ),
  );
  const expected = verdict.expected_dice;
  $("expected-dice").textContent = expected === null ? STRINGS.unknown : decimal(expected, 2);
  $("frontal").textContent = percent(verdict.frontal, 0);
  $("confidence").textContent = percent(verdict.confidence, 0);
  $("name").textContent = $("name").title = entry.name;
  $("size").textContent = formatText(STRINGS.size, { width: read.width, height: read.height, bytes: megabytes(entry.file.size) });
  $("spacing").textContent = spacingText(read.spacing_mm);
  $("model").textContent = `${model.name}, ${model.precision.toUpperCase()}`;
  $("digest").textContent = model.sha256;
  const total = Object.values(milliseconds).reduce((sum, each) => sum + each, 0) / 1000;
  $("time").textContent = formatText(STRINGS.timeValue, { server: decimal(total, 2), total: decimal(entry.seconds, 2) });
  $("stages").textContent = Object.entries(milliseconds).map(([stage, ms]) => `${stage} ${ms.toFixed(0)}`).join(", ");
}

function spacingText(spacing) {
  if (!spacing) return STRINGS.noSpacing;
  const [row, column] = [spacing.row, spacing.column].map((side) => side.toPrecision(3));
  const text = formatText(STRINGS.spacing, { row, column, source: spacing.source });
  return spacing.source === "ImagerPixelSpacing" ? `${text} ${STRINGS.detectorSpacing}` : text;
}

/** Shows or hides the mask of a rejected image, and all that comes from it. */
function reportWithheld() {
  const { entry } = image;
  $("result").classList.toggle("withheld", isWithheld(entry));
  $("reveal").hidden = !isRejected(entry);
  $("reveal").textContent = entry.isRevealed ? STRINGS.hide : STRINGS.show;
}

$("reveal").onclick = () => {
  image.entry.isRevealed = !image.entry.isRevealed;
  reportWithheld();
  reportThreshold();
  draw();
  say(canvas.getAttribute("aria-label"));
};

/** Asks the server for the exact areas and the verdict at the slider's threshold. */
$("measure").onclick = async () => {
  const { entry } = image;
  const at = threshold();
  const text = decimal(at, 2);
  $("measure").disabled = true;
  $("measure-problem").hidden = true;
  say(formatText(STRINGS.measuring, { threshold: text }));
  try {
    const started = performance.now();
    const bytes = await ask(entry.file, { format: "json", threshold: at.toFixed(2) }).answer;
    entry.facts = JSON.parse(new TextDecoder().decode(bytes));
    entry.seconds = (performance.now() - started) / 1000;
    updateThumbnail(entry);
    reportQueue();
    if (image?.entry !== entry) return;
    reportFacts();
    reportWithheld();
    update();
    say(formatText(STRINGS.measuredAt, { threshold: text, decision: STRINGS.states[entry.facts.verdict.decision] }));
    $("threshold").focus();
  } catch (thrown) {
    if (image?.entry === entry) showProblem($("measure-problem"), toProblem(thrown)).focus();
  } finally {
    $("measure").disabled = false;
  }
};

// The view.

let doubtChosen = null;
const DOUBT_REASONS = ["doubtful-mask", "low-confidence"];

/** Marks the uncertain area of doubtful masks, unless the user has switched it. */
function chooseDoubt() {
  const isDoubtful = image.entry.facts.verdict.reasons.some((reason) => DOUBT_REASONS.includes(reason.code));
  $("doubt").checked = doubtChosen ?? isDoubtful;
  $("doubt-meaning").hidden = $("doubt-key").hidden = !$("doubt").checked;
}

$("doubt").onchange = () => {
  doubtChosen = $("doubt").checked;
  chooseDoubt();
  draw();
};
$("threshold").oninput = () => {
  image.entry.threshold = threshold();
  drawSoon(update);
};
$("reset").onclick = () => {
  $("threshold").value = image.entry.threshold = image.entry.usual;
  update();
  $("threshold").focus();
};
function reportOpacity() {
  $("opacity-value").textContent = percent($("opacity").value, 0);
}
$("opacity").oninput = () => {
  reportOpacity();
  drawSoon(draw);
};
$("fill").onchange = () => {
  $("opacity").disabled = !$("fill").checked;
  draw();
};
$("contour").onchange = $("letters").onchange = () => draw();
$("invert").onchange = () => {
  paintImage();
  draw();
};
