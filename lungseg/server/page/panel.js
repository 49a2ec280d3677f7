// The panel

/** Everything that changes with the threshold, in words and figures. */
function tell() {
  const at = threshold();
  const { facts } = film;
  const exact = at === facts.threshold;
  const factor = (facts.film.width * facts.film.height) / (film.width * film.height);
  const spacing = facts.film.spacing_mm;
  const areas = {
    right: exact ? facts.lungs.right.pixels : shown.right.area * factor,
    left: exact ? facts.lungs.left.pixels : shown.left.area * factor,
  };
  areas.both = areas.right + areas.left;
  const about = exact ? "" : "≈ ";
  const share = (area) => percent(area / (facts.film.width * facts.film.height));
  for (const [lung, area] of Object.entries(areas)) {
    const [pixels, square, part] = document.querySelectorAll(`[data-lung=${lung}] td`);
    // An estimate is good to about four figures.
    pixels.textContent = about + count(exact ? area : Number(area.toPrecision(4)));
    square.textContent = spacing ? `${about}${((area * spacing.row * spacing.column) / 100).toFixed(1)}` : "–";
    part.textContent = about + share(area);
  }
  $("ratio").textContent = areas.right && areas.left ? about + (areas.right / areas.left).toFixed(2) : "one lung is missing";
  document.querySelectorAll("[data-threshold]").forEach((each) => (each.textContent = at.toFixed(2)));
  $("threshold-value").textContent = at.toFixed(2);
  $("threshold").setAttribute("aria-valuetext", `${at.toFixed(2)}: lungs cover ${share(areas.both)} of the film`);
  $("source").textContent = exact
    ? "Measured on the film’s own pixels."
    : `Estimated from the preview. The verdict is that of ${facts.threshold.toFixed(2)}.`;
  $("measure").hidden = exact;
  $("reset").hidden = at === film.usual;
  canvas.setAttribute(
    "aria-label",
    `The film with its lungs marked. Verdict: ${facts.verdict.decision}. At threshold ${at.toFixed(2)} lungs cover ` +
      `${share(areas.both)} of the film, the patient’s right lung ${share(areas.right)} and the left ${share(areas.left)}.`,
  );
}

/** What the service said of the film. */
function report() {
  const { verdict, film: read, model, milliseconds } = film.facts;
  const [word, advice] = ADVICE[verdict.decision];
  document.querySelector(".verdict").dataset.decision = verdict.decision;
  $("decision").replaceChildren(icon(verdict.decision), word);
  $("advice").textContent = advice;
  $("reasons").replaceChildren(
    ...verdict.reasons.map(({ code, decision, text }) =>
      make("li", {}, make("b", {}, decision === "accept" ? "Note: " : ""), `${text} `, make("code", {}, code)),
    ),
  );
  $("figures").textContent =
    (verdict.expected_dice === null ? "" : `Expected Dice: ${verdict.expected_dice.toFixed(2)}. `) +
    `Frontal chest film: ${percent(verdict.frontal, 0)}. Network’s confidence: ${percent(verdict.confidence, 0)}.`;
  $("name").textContent = film.name;
  $("name").title = film.name;
  $("size").textContent = `${read.width} × ${read.height} px, ${megabytes(film.bytes.byteLength)}`;
  const spacing = read.spacing_mm;
  $("spacing").textContent = !spacing
    ? "No cm²: the film does not say how large its pixels are."
    : `Pixels of ${spacing.row.toPrecision(3)} × ${spacing.column.toPrecision(3)} mm (${spacing.source}). ` +
      (spacing.source === "ImagerPixelSpacing" ? "Measured at the detector, where a chest appears up to a tenth larger." : "");
  $("model").textContent = `${model.name}, ${model.precision.toUpperCase()}`;
  $("digest").textContent = model.sha256;
  const total = Object.values(milliseconds).reduce((sum, each) => sum + each, 0);
  $("time").textContent = `${(total / 1000).toFixed(2)} s on the service, ${film.seconds.toFixed(2)} s in all`;
  $("stages").textContent = Object.entries(milliseconds).map(([stage, ms]) => `${stage} ${ms.toFixed(0)}`).join(", ");
}

for (const [name, [, title, meaning]] of Object.entries(FILES)) {
  const button = make("button", { type: "button", className: "button" }, title, make("small", {}, meaning));
  button.dataset.name = name;
  button.onclick = () => download(name, button);
  $("files").append(button);
}

/** Asks the service for one form at the slider's threshold, and hands it to the browser as a file. */
async function download(name, button) {
  const from = film;
  const at = threshold().toFixed(2);
  const [suffix, title] = FILES[name];
  const file = from.name + suffix;
  if (button.querySelector(".spin")) return;
  $("download-problem").hidden = true;
  $("said").textContent = `${title} at ${at} is being made …`;
  const spin = make("span", { className: "spin" });
  button.insertBefore(spin, button.querySelector("small"));
  try {
    const bytes = await ask(from.bytes, { format: name, threshold: at }).answer;
    const href = URL.createObjectURL(new Blob([bytes], { type: "application/octet-stream" }));
    make("a", { href, download: file }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
    if (film === from) $("said").textContent = `${file}: ${megabytes(bytes.length)}, at threshold ${at}.`;
  } catch (problem) {
    if (film === from) {
      $("said").textContent = "";
      showProblem($("download-problem"), problem).focus();
    }
  } finally {
    spin.remove();
  }
}

/** The exact figures and the verdict at the slider's threshold. */
$("measure").onclick = async () => {
  const from = film;
  const at = threshold().toFixed(2);
  $("measure").disabled = true;
  $("measure-problem").hidden = true;
  say(`Asking the service at ${at}.`);
  try {
    const started = performance.now();
    const bytes = await ask(from.bytes, { format: "json", threshold: at }).answer;
    from.facts = JSON.parse(new TextDecoder().decode(bytes));
    from.seconds = (performance.now() - started) / 1000;
    if (film !== from) return;
    report();
    tell();
    say(`Measured at ${at}. Verdict: ${from.facts.verdict.decision}.`);
    $("threshold").focus();
  } catch (problem) {
    if (film === from) showProblem($("measure-problem"), problem).focus();
  } finally {
    $("measure").disabled = false;
  }
};
