// The queue of images: added by the user, sent two at a time, shown one at a time.

/** Images in the queue. Each keeps its preview, about 1 MB, and the browser's reference to the file. */
const MAX_QUEUE = 100;
/** Images that are sent at a time: one travels while the server segments the other. */
const MAX_SENDING = 2;

/**
 * Images in the order in which they were added:
 * {file, name, state: "waiting" | "sending" | "done" | "failed", step, progress, problem, request, preview, facts, isDicom,
 * isRevealed, usual, threshold, seconds, thumb, picture}.
 */
let queue = [];
/** The entry that is on show, or null. */
let current = null;

/** Adds files to the queue, and shows the first of them. */
function addFiles(files) {
  const added = [...files].slice(0, MAX_QUEUE - queue.length).map((file) => ({ file, name: file.name, state: "waiting", progress: STRINGS.waiting, share: 0 }));
  const left = files.length - added.length;
  $("bulk-said").textContent = left ? formatText(STRINGS.queueFull, { limit: MAX_QUEUE, left }) : "";
  if (!added.length) return;
  $("refusal").hidden = true;
  queue.push(...added);
  for (const entry of added) addThumbnail(entry);
  sendWaiting();
  showEntry(added[0]);
}

/** Sends what waits, as long as fewer than MAX_SENDING are under way. */
function sendWaiting() {
  while (queue.filter((entry) => entry.state === "sending").length < MAX_SENDING) {
    const entry = queue.find((each) => each.state === "waiting");
    if (!entry) break;
    sendEntry(entry);
  }
  reportQueue();
}

/** Segments one image; whatever happens to it stays in its entry. */
async function sendEntry(entry) {
  const started = performance.now();
  entry.state = "sending";
  reportProgress(entry, "sending", 0);
  updateThumbnail(entry);
  let preview;
  try {
    entry.isDicom = isDicom(await readHead(entry.file));
    if (!queue.includes(entry)) return;
    const request = (entry.request = ask(entry.file, { format: "preview" }, (kind, value) => reportProgress(entry, kind, value)));
    const bytes = await request.answer;
    preview = await readPreview(bytes);
    const { facts } = preview;
    Object.assign(entry, { state: "done", preview: new Blob([bytes]), facts, seconds: (performance.now() - started) / 1000 });
    Object.assign(entry, { usual: facts.threshold, threshold: facts.threshold });
    drawThumbnail(entry, preview);
  } catch (thrown) {
    Object.assign(entry, { state: "failed", problem: toProblem(thrown) });
  }
  entry.request = null;
  if (!queue.includes(entry)) return; // removed, and its request cancelled
  updateThumbnail(entry);
  if (entry === current) showEntry(entry, preview);
  sendWaiting();
}

/** The first bytes of a file. */
async function readHead(file) {
  try {
    return new Uint8Array(await file.slice(0, 132).arrayBuffer());
  } catch {
    throw browserProblem("unreadable");
  }
}

/** Whether an image that the server has read is DICOM, also without its preamble, by the rule of lungseg.decode. */
function isDicom(head) {
  const isMarked = (at) => new TextDecoder().decode(head.subarray(at, at + 4)) === "DICM";
  return isMarked(128) || isMarked(0) || ([2, 8].includes(head[0]) && head[1] === 0);
}

function reportProgress(entry, kind, value) {
  // A screen reader hears of each step once, not of every percent and second.
  const step = kind === "sending" && value >= 1 ? "segmenting" : kind;
  const isNews = step !== entry.step;
  entry.step = step;
  entry.share = kind === "sending" ? value : 0;
  if (kind === "busy") entry.progress = formatText(STRINGS.busy, { seconds: value });
  else if (step === "segmenting") entry.progress = STRINGS.segmenting;
  else entry.progress = formatText(STRINGS.sending, { size: megabytes(entry.file.size), share: percent(value, 0) });
  if (entry === current) showProgress(entry, isNews);
}

function retryEntry(entry) {
  Object.assign(entry, { state: "waiting", progress: STRINGS.waiting, share: 0, problem: null });
  updateThumbnail(entry);
  if (entry === current) showEntry(entry);
  sendWaiting();
}

/** Forgets an image, and shows its neighbour. */
function removeEntry(entry) {
  const index = queue.indexOf(entry);
  queue.splice(index, 1);
  entry.request?.cancel();
  entry.thumb.parentElement.remove();
  if (entry === current) showEntry(queue[Math.min(index, queue.length - 1)] ?? null);
  sendWaiting();
}

function clearQueue() {
  bulk?.cancel();
  for (const entry of queue.splice(0)) entry.request?.cancel();
  $("thumbnails").replaceChildren();
  showEntry(null);
  reportQueue();
}

/** Shows the next image, or the previous one for a step of -1. */
function stepTo(step) {
  const entry = queue[queue.indexOf(current) + step];
  if (!entry) return;
  const hasFocus = $("thumbnails").contains(document.activeElement);
  showEntry(entry);
  if (hasFocus) entry.thumb.focus();
}

// The strip of thumbnails.

const THUMB_SIDE = 112;

function addThumbnail(entry) {
  entry.thumb = make("button", { type: "button", className: "thumb", title: entry.name, onclick: () => showEntry(entry) });
  $("thumbnails").append(make("li", {}, entry.thumb));
  updateThumbnail(entry);
}

/** Shows an entry's state on its thumbnail: its picture, if there is one, and an icon. */
function updateThumbnail(entry) {
  const state = entry.state === "done" ? entry.facts.verdict.decision : entry.state;
  entry.thumb.dataset.state = state;
  entry.thumb.replaceChildren(entry.picture ?? "", ["waiting", "sending"].includes(state) ? make("span", { className: "spin" }) : icon(state));
}

function drawThumbnail(entry, preview) {
  const { width, height } = preview;
  const scale = Math.min(1, THUMB_SIDE / Math.max(width, height));
  entry.picture = make("canvas", { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const context = entry.picture.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(greyBitmap(preview), 0, 0, entry.picture.width, entry.picture.height);
}

/** Shows the strip, if there are several images, and what can be done with all of them. */
function reportQueue() {
  const pending = queue.filter((entry) => ["waiting", "sending"].includes(entry.state)).length;
  const done = queue.filter((entry) => entry.state === "done").length;
  const position = queue.indexOf(current) + 1;
  $("queue").hidden = queue.length < 2;
  $("previous").disabled = position <= 1;
  $("next").disabled = position >= queue.length;
  $("queue-state").textContent = formatText(pending ? STRINGS.queuePending : STRINGS.queueState, { position, total: queue.length, pending });
  $("retry-failed").hidden = !queue.some((entry) => entry.state === "failed" && isPassing(entry.problem));
  if (!bulk) {
    $("bulk").disabled = !done;
    $("bulk").textContent = formatText(STRINGS.bulk, { count: done });
  }
  for (const [index, { thumb, name }] of queue.entries()) {
    const state = STRINGS.states[thumb.dataset.state];
    thumb.setAttribute("aria-label", formatText(STRINGS.thumbnail, { position: index + 1, name, state }));
    thumb.setAttribute("aria-current", thumb === current?.thumb);
  }
}
