// Requests to the server.

// Behind a gateway the page may be https://host/Prod: relative to /Prod/, whether or not the slash was typed.
const BASE = new URL(location.pathname.replace(/\/?$/, "/"), location.href);

/** How often a request is sent while the server is busy, and the longest wait in seconds. */
const MAX_ATTEMPTS = 10, MAX_WAIT = 120;

/**
 * Sends an image, without its name, and again after Retry-After while the server is busy.
 *
 * `onProgress("sending", share)` reports the upload, `onProgress("busy", seconds)` the time to the next attempt.
 * `answer` resolves to the bytes; it rejects with a problem document, or with null if it was cancelled.
 */
function ask(file, parameters, onProgress = () => {}) {
  const request = new XMLHttpRequest();
  let wake = null;
  let isCancelled = false;
  const attempts = async () => {
    for (let attempt = 1; ; attempt++) {
      const { bytes, problem, wait } = await sendOnce(request, file, parameters, onProgress);
      if (bytes) return bytes;
      if (isCancelled || !problem) throw null;
      if (!wait || attempt === MAX_ATTEMPTS) throw problem;
      for (let left = wait; left > 0; left--) {
        onProgress("busy", left);
        await new Promise((resolve) => setTimeout((wake = resolve), 1000));
        if (isCancelled) throw null;
      }
    }
  };
  const cancel = () => {
    isCancelled = true;
    request.abort();
    wake?.();
  };
  return { answer: attempts(), cancel };
}

/** Resolves to {bytes}, to {problem, wait} with the seconds of Retry-After or 0, or to {} if it was aborted. */
function sendOnce(request, file, parameters, onProgress) {
  return new Promise((resolve) => {
    request.open("POST", new URL(`v1/segment?${new URLSearchParams(parameters)}`, BASE));
    request.responseType = "arraybuffer";
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => onProgress("sending", event.loaded / event.total);
    request.upload.onload = () => onProgress("sending", 1);
    request.onload = () => {
      if (request.status === 200) resolve({ bytes: new Uint8Array(request.response) });
      else resolve({ problem: problemOf(request, file.size), wait: secondsToWait(request) });
    };
    request.onerror = () => resolve({ problem: unreachable(file.size), wait: 0 });
    request.onabort = () => resolve({});
    onProgress("sending", 0);
    request.send(file);
  });
}

/** The seconds after which a busy server wants to be asked again (RFC 9110, section 10.2.3); 0 without Retry-After. */
function secondsToWait(request) {
  const header = request.getResponseHeader("Retry-After");
  if (!header || ![429, 503].includes(request.status)) return 0;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Math.min(MAX_WAIT, Math.max(1, Math.ceil(seconds || 1)));
}

/** The problem document of an error; one made here where a gateway answered and sent none. */
function problemOf(request, bytes) {
  if ((request.getResponseHeader("Content-Type") || "").startsWith("application/problem+json")) {
    try {
      return JSON.parse(new TextDecoder().decode(request.response));
    } catch {
      // cut off on the way: told by its status
    }
  }
  const { status } = request;
  const values = { status, size: megabytes(bytes) };
  if (status === 413) return { ...browserProblem("too-large", values), status };
  return { ...browserProblem("gateway", values, bytes > 3e6 ? "gateway-large" : "gateway"), status };
}

function unreachable(bytes) {
  const values = { host: location.host, size: megabytes(bytes) };
  return browserProblem("unreachable", values, bytes > 4e6 ? "unreachable-large" : "unreachable");
}

/** Whether the same request may succeed later. */
const isPassing = (problem) => problem.code === "unreachable" || problem.status >= 500 || problem.status === 429;
