// From one state to the next

const say = (text) => ($("status").textContent = text);

function show(state) {
  for (const each of ["start", "busy", "result"]) $(each).hidden = each !== state;
}

async function take(file) {
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    refuse(UNREADABLE);
    return;
  }
  send(bytes, file.name);
}

/** Back to the start, with a problem document. */
function refuse(problem, retry) {
  show("start");
  say(`${problem.title}.`);
  showProblem($("refusal"), problem, retry).focus();
}

async function send(bytes, name) {
  pending?.cancel();
  film = shown = null;
  $("refusal").hidden = true;
  show("busy");
  const started = performance.now();
  const bar = document.querySelector(".bar");
  $("busy-name").textContent = name;
  const progress = (share) => {
    const sent = share >= 1;
    bar.classList.toggle("unknown", sent);
    bar.firstElementChild.style.width = sent ? "" : `${100 * share}%`;
    if (sent) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.round(100 * share));
    const text = sent ? "Reading the film and finding its lungs …" : `Sending ${megabytes(bytes.byteLength)}: ${percent(share, 0)}`;
    $("busy-text").textContent = text;
    if (sent || share === 0) say(text);
  };
  progress(0);
  $("cancel").focus();
  const request = (pending = ask(bytes, { format: "preview" }, progress));
  try {
    const preview = await readPreview(await request.answer);
    film = { bytes, name, ...preview, usual: preview.facts.threshold, seconds: (performance.now() - started) / 1000 };
    showFilm();
  } catch (problem) {
    if (pending !== request) return;
    show("start");
    if (problem === null) {
      say("Cancelled.");
      $("file").focus();
      return;
    }
    if (problem instanceof Error) console.error(problem);
    const passing = problem.code === "unreachable" || problem.status >= 500;
    refuse(problem instanceof Error ? TOO_OLD : problem, passing && (() => send(bytes, name)));
  }
}

/** Whether a film that the service has read is DICOM, told as lungseg.decode does, also without preamble. */
function isDicom(bytes) {
  const is = (at) => new TextDecoder().decode(bytes.subarray(at, at + 4)) === "DICM";
  return is(128) || is(0) || ([2, 8].includes(bytes[0]) && bytes[1] === 0);
}

function showFilm() {
  $("threshold").value = film.usual;
  $("reset").textContent = `Back to ${film.usual.toFixed(2)}`;
  $("said").textContent = "";
  $("download-problem").hidden = $("measure-problem").hidden = true;
  const dicom = isDicom(new Uint8Array(film.bytes));
  const seg = document.querySelector("[data-name=dicom-seg]");
  seg.disabled = !dicom;
  seg.lastElementChild.textContent = dicom ? FILES["dicom-seg"][2] : "needs a DICOM film";
  report();
  paintFilm();
  show("result");
  scrollTo(0, 0);
  document.querySelector(".panel").scrollTop = 0;
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
  update();
  fit();
  const reasons = film.facts.verdict.reasons.map((reason) => reason.text).join(" ");
  say(`Done. Verdict: ${film.facts.verdict.decision}. ${reasons} ${canvas.getAttribute("aria-label")}`);
  $("decision").focus({ preventScroll: true });
}

$("threshold").oninput = () => soon(update);
$("reset").onclick = () => {
  $("threshold").value = film.usual;
  update();
  $("threshold").focus();
};
const showOpacity = () => ($("opacity-value").textContent = percent($("opacity").value, 0));
showOpacity();
$("opacity").oninput = () => {
  showOpacity();
  soon(draw);
};
$("fill").onchange = () => {
  $("opacity").disabled = !$("fill").checked;
  draw();
};
$("contour").onchange = $("letters").onchange = $("doubt").onchange = draw;
$("invert").onchange = () => {
  paintFilm();
  draw();
};

$("cancel").onclick = () => pending.cancel();
$("another").onclick = () => {
  film = shown = null;
  show("start");
  say("Choose another film.");
  $("file").focus();
};
$("file").onchange = () => {
  const [file] = $("file").files;
  if (file) take(file);
  $("file").value = ""; // so that the same film can be chosen again
};
addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) take(file);
});

let depth = 0; // dragenter and dragleave come for every element on the way
const dragged = (by) => {
  depth = by === 0 ? 0 : depth + by;
  document.body.classList.toggle("dragging", depth > 0);
  $("target").hidden = depth <= 0 || !$("start").hidden;
};
addEventListener("dragenter", (event) => {
  if (event.dataTransfer.types.includes("Files")) dragged(1);
});
addEventListener("dragleave", (event) => {
  if (event.dataTransfer.types.includes("Files")) dragged(-1);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragged(0);
  const [file] = event.dataTransfer.files;
  if (file) take(file);
});

document.querySelectorAll("[data-host]").forEach((each) => (each.textContent = location.host));
$("docs").href = new URL("docs", BASE);
