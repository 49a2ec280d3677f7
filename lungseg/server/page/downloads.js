// Downloads: one result of the image on show, or all results as one ZIP.

const suffixOf = (format) => SERVER.outputFormats[format].suffix;
const formatTitle = (format) => STRINGS.files[format]?.[0] ?? format;
const formatMeaning = (format) => STRINGS.files[format]?.[1] ?? SERVER.outputFormats[format].meaning;

function addFormats() {
  for (const name of Object.keys(SERVER.outputFormats)) {
    const button = make("button", { type: "button", className: "button" }, formatTitle(name), make("small", {}, formatMeaning(name)));
    button.dataset.name = name;
    button.classList.toggle("of-mask", name !== "json");
    button.onclick = () => downloadOne(name, button);
    $("files").append(button);
    $("bulk-format").append(make("option", { value: name }, formatTitle(name)));
  }
}

/** Hands bytes to the browser as a file. */
function saveFile(content, name) {
  const href = URL.createObjectURL(content);
  make("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** The parameters of a download: overlays look as the image does here. */
function downloadParameters(format, at) {
  return { format, threshold: at.toFixed(2), ...(SERVER.outputFormats[format].isDrawn && { opacity: $("fill").checked ? $("opacity").value : 0 }) };
}

/** Reports a busy server in a box. */
const reportBusy = (box) => (kind, value) => {
  if (kind === "busy") box.textContent = formatText(STRINGS.busy, { seconds: value });
};

/** Downloads one format at the slider's threshold. */
async function downloadOne(format, button) {
  const { entry } = image;
  const at = threshold();
  const text = decimal(at, 2);
  const file = entry.name + suffixOf(format);
  if (button.querySelector(".spin")) return;
  $("download-problem").hidden = true;
  $("said").textContent = formatText(STRINGS.preparing, { title: formatTitle(format), threshold: text });
  const spin = make("span", { className: "spin" });
  button.insertBefore(spin, button.querySelector("small"));
  try {
    const bytes = await ask(entry.file, downloadParameters(format, at), reportBusy($("said"))).answer;
    saveFile(new Blob([bytes], { type: "application/octet-stream" }), file);
    if (image?.entry === entry) $("said").textContent = formatText(STRINGS.downloaded, { file, size: megabytes(bytes.length), threshold: text });
  } catch (thrown) {
    if (image?.entry === entry) {
      $("said").textContent = "";
      showProblem($("download-problem"), toProblem(thrown)).focus();
    }
  } finally {
    spin.remove();
  }
}

/** The download of all results in progress, or null: {cancel}. */
let bulk = null;

$("bulk").onclick = () => (bulk ? bulk.cancel() : downloadAll($("bulk-format").value));

/**
 * Downloads one format of every image, each at its own threshold, as one ZIP.
 *
 * Images are named as on disk. Rejected images give their report alone, unless their mask is on show; failed images give
 * an error report.
 */
async function downloadAll(format) {
  // Copies: an image that is sent again meanwhile is in the ZIP as it was.
  const entries = queue.filter((entry) => entry.state === "done" || entry.state === "failed").map((entry) => ({ ...entry }));
  const run = (bulk = { isCancelled: false, cancel: () => ((run.isCancelled = true), run.request?.cancel()) });
  const [members, names] = [[], new Set()];
  let [withheld, failed] = [0, 0];
  $("bulk-problem").hidden = true;
  $("bulk").textContent = STRINGS.cancel;
  try {
    for (const [index, entry] of entries.entries()) {
      if (run.isCancelled) throw null;
      $("bulk-said").textContent = formatText(STRINGS.bulkProgress, { position: index + 1, total: entries.length });
      const name = memberName(entry.name, names);
      const isReport = entry.state === "done" && isWithheld(entry) && format !== "json";
      try {
        if (entry.state === "failed") throw entry.problem;
        members.push(...(await bulkMembers(run, entry, isReport ? "json" : format, name)));
        withheld += isReport;
      } catch (problem) {
        if (problem === null || problem instanceof Error) throw problem;
        failed += 1;
        members.push(storedMember(`${name}.error.json`, new TextEncoder().encode(JSON.stringify(problem))));
      }
      if (members.reduce((sum, member) => sum + member.packed, 0) > MAX_ARCHIVE) throw browserProblem("zip-too-large", { limit: megabytes(MAX_ARCHIVE) });
    }
    const archive = writeArchive(members);
    saveFile(archive, STRINGS.bulkFile);
    const notes = [withheld && formatText(STRINGS.bulkWithheld, { count: withheld }), failed && formatText(STRINGS.bulkFailed, { count: failed })];
    $("bulk-said").textContent = [formatText(STRINGS.bulkDone, { file: STRINGS.bulkFile, size: megabytes(archive.size) }), ...notes.filter(Boolean)].join(" ");
  } catch (thrown) {
    $("bulk-said").textContent = thrown === null ? STRINGS.cancelled : "";
    if (thrown !== null) showProblem($("bulk-problem"), toProblem(thrown)).focus();
  } finally {
    bulk = null;
    reportQueue();
  }
}

/** One image's files in the ZIP: the format that was asked for, or all of them. */
async function bulkMembers(run, entry, format, name) {
  run.request = ask(entry.file, downloadParameters(format, entry.threshold), reportBusy($("bulk-said")));
  const bytes = await run.request.answer;
  if (format !== "all") return [storedMember(name + suffixOf(format), bytes)];
  // The server calls them lungs.mask.png and so on.
  return readArchive(bytes).map((member) => ({ ...member, name: name + member.name.slice(member.name.indexOf(".")) }));
}

/** A name for an image's files that no other has, and that no system refuses. */
function memberName(name, names) {
  const plain = name.replace(/[\u0000-\u001f<>:"/\\|?*]/g, "_");
  const [, stem, suffix] = plain.match(/^(.*?)(\.[^.]*)?$/s);
  let free = plain;
  for (let number = 2; names.has(free.toLowerCase()); number++) free = `${stem} (${number})${suffix ?? ""}`;
  names.add(free.toLowerCase());
  return free;
}
