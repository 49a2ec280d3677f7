// What is on show, and what the user does.

/** The decoded image on show, or null: {entry, width, height, grey, probability, side, picture, doubt}. */
let image = null;

function showState(state) {
  for (const each of ["start", "busy", "failed-image", "result"]) $(each).hidden = each !== state;
}

/** Shows an entry in its present state, or the start if there is none; `preview` spares decoding it again. */
function showEntry(entry, preview) {
  current = entry;
  reportQueue();
  entry?.thumb.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (entry?.state === "done") showResult(entry, preview);
  else {
    image = shown = null;
    if (!entry) showStart();
    else if (entry.state === "failed") showFailure(entry);
    else showBusy(entry);
  }
}

/** Moves the focus to an element, unless it is on something that is still visible. */
function focusOn(element) {
  const { activeElement } = document;
  if (activeElement === document.body || !activeElement?.getClientRects().length) element.focus({ preventScroll: true });
}

function showStart() {
  showState("start");
  focusOn($("file"));
}

function showBusy(entry) {
  showState("busy");
  $("busy-name").textContent = entry.name;
  showProgress(entry, true);
  focusOn($("cancel"));
}

function showProgress(entry, isNews) {
  const isSent = entry.share >= 1;
  const bar = document.querySelector(".bar");
  bar.classList.toggle("unknown", isSent);
  bar.firstElementChild.style.width = isSent ? "" : `${100 * entry.share}%`;
  if (isSent) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", Math.round(100 * entry.share));
  $("busy-text").textContent = entry.progress;
  if (isNews) say(entry.progress);
}

/** Shows why an image failed: beside the others, or above the start if it is the only one. */
function showFailure(entry) {
  const retry = isPassing(entry.problem) && (() => retryEntry(entry));
  say(`${problemTexts(entry.problem).title}.`);
  if (queue.length > 1) {
    showState("failed-image");
    $("failed-name").textContent = entry.name;
    focusOn(showProblem($("failure"), entry.problem, retry));
    return;
  }
  removeEntry(entry);
  showProblem($("refusal"), entry.problem, retry && (() => addFiles([entry.file]))).focus();
}

async function showResult(entry, preview) {
  preview ??= await readPreview(new Uint8Array(await entry.preview.arrayBuffer()));
  if (entry !== current) return;
  image = { entry, ...preview };
  $("threshold").value = entry.threshold;
  $("reset").textContent = formatText(STRINGS.reset, { threshold: decimal(entry.usual, 2) });
  $("said").textContent = "";
  $("download-problem").hidden = $("measure-problem").hidden = true;
  for (const button of document.querySelectorAll("[data-name^=dicom-]")) {
    button.disabled = !entry.isDicom;
    button.lastElementChild.textContent = entry.isDicom ? formatMeaning(button.dataset.name) : STRINGS.needsDicom;
  }
  reportFacts();
  reportWithheld();
  chooseDoubt();
  paintImage();
  paintDoubt();
  showState("result");
  scrollTo(0, 0);
  document.querySelector(".panel").scrollTop = 0;
  sizeCanvas();
  update();
  fit();
  const reasons = entry.facts.verdict.reasons.map(reasonText).join(" ");
  say(formatText(STRINGS.done, { decision: STRINGS.states[entry.facts.verdict.decision], reasons, image: canvas.getAttribute("aria-label") }));
  focusOn($("decision"));
}

$("cancel").onclick = () => {
  removeEntry(current);
  say(STRINGS.cancelled);
};
$("remove").onclick = $("remove-failed").onclick = () => {
  removeEntry(current);
  say(STRINGS.removed);
};
$("clear").onclick = clearQueue;
$("previous").onclick = () => stepTo(-1);
$("next").onclick = () => stepTo(1);
$("retry-failed").onclick = () => queue.filter((entry) => entry.state === "failed" && isPassing(entry.problem)).forEach(retryEntry);
$("add").onclick = $("add-more").onclick = () => $("file").click();
$("file").onchange = () => {
  addFiles($("file").files);
  $("file").value = ""; // so that the same image can be chosen again
};
$("sample").onclick = () => {
  const bytes = Uint8Array.from(atob($("sample-image").src.split(",")[1]), (letter) => letter.charCodeAt(0));
  addFiles([new File([bytes], "sample.jpg")]);
};
addEventListener("paste", (event) => addFiles(event.clipboardData.files));

addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const isEditing = event.target.matches?.("input, select, textarea");
  if (!step || isEditing || queue.length < 2 || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  event.preventDefault();
  stepTo(step);
});

let depth = 0; // dragenter and dragleave come for every element on the way
function trackDrag(step) {
  depth = step === 0 ? 0 : depth + step;
  document.body.classList.toggle("dragging", depth > 0);
  $("target").hidden = depth <= 0 || !$("start").hidden;
}
addEventListener("dragenter", (event) => {
  if (event.dataTransfer.types.includes("Files")) trackDrag(1);
});
addEventListener("dragleave", (event) => {
  if (event.dataTransfer.types.includes("Files")) trackDrag(-1);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  trackDrag(0);
  addFiles(event.dataTransfer.files);
});

fillTexts();
addFormats();
reportOpacity();
$("docs").href = new URL("docs", BASE);
