// The service

// Behind a gateway the page may be https://host/Prod: relative to /Prod/, whether or not the slash was typed.
const BASE = new URL(location.pathname.replace(/\/?$/, "/"), location.href);

/** Sends a film; resolves to {bytes}, rejects with a problem document, or with null if it was cancelled. */
function ask(body, parameters, onProgress) {
  const request = new XMLHttpRequest();
  const answer = new Promise((resolve, reject) => {
    request.open("POST", new URL(`v1/segment?${new URLSearchParams(parameters)}`, BASE));
    request.responseType = "arraybuffer";
    request.setRequestHeader("Content-Type", "application/octet-stream");
    if (onProgress) {
      request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
      request.upload.onload = () => onProgress(1);
    }
    request.onload = () => {
      if (request.status === 200) resolve(new Uint8Array(request.response));
      else reject(problemOf(request, body.byteLength));
    };
    request.onerror = () => reject(unreachable(body.byteLength));
    request.onabort = () => reject(null);
    request.send(body);
  });
  return { answer, cancel: () => request.abort() };
}

/** The problem document of a refusal; one made here where a gateway refused and sent none. */
function problemOf(request, size) {
  if ((request.getResponseHeader("Content-Type") || "").startsWith("application/problem+json")) {
    return JSON.parse(new TextDecoder().decode(request.response));
  }
  if (request.status === 413) {
    return {
      title: "The film is too large for this host",
      status: 413,
      code: "too-large",
      detail: `It has ${megabytes(size)}. Something before the service refused it: on AWS Lambda a film may have about 4.5 MB.`,
      remedy: "Send a losslessly compressed PNG of the film, or a copy with fewer pixels; or run the service on your own machine.",
    };
  }
  return {
    title: "The service did not answer as it should",
    status: request.status,
    code: "gateway",
    detail: `Something before the service answered with HTTP ${request.status}.`,
    remedy: `Try again. ${size > 3e6 ? "If the service runs on AWS Lambda, the film or the answer may be too large: about 4.5 MB is what passes." : "If it stays, tell the service’s operator."}`,
  };
}

function unreachable(size) {
  return {
    title: "The service cannot be reached",
    code: "unreachable",
    detail: `The connection to ${location.host} failed before an answer came${size > 4e6 ? `; some hosts break it off when a film is too large (this one has ${megabytes(size)})` : ""}.`,
    remedy: "Check the connection, and try again.",
  };
}

/** Fills a box with a problem document; `retry`, if given, is what its button does. */
function showProblem(box, problem, retry) {
  const heading = make("h2", { tabIndex: -1 }, icon("reject"), problem.title);
  const status = problem.status ? ` · HTTP ${problem.status}` : "";
  box.replaceChildren(
    heading,
    make("p", {}, problem.detail),
    make("p", {}, make("b", {}, "What to do: "), problem.remedy),
    make("p", { className: "small quiet" }, make("code", {}, problem.code), status),
  );
  if (retry) box.append(make("button", { type: "button", className: "button", onclick: retry }, "Try again"));
  box.hidden = false;
  return heading;
}
