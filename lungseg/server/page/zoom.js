// Zoom and pan.

/** Zooms by a factor about a point of the canvas in device pixels, by default its middle. */
function zoom(factor, x = canvas.width / 2, y = canvas.height / 2) {
  const before = fitted();
  const [u, v] = [(x - before.x) / before.scale, (y - before.y) / before.scale];
  place.scale = Math.min(12, Math.max(1, place.scale * factor));
  const { scale } = fitted();
  place.x = (u - (x - canvas.width / 2) / scale) / image.width;
  place.y = (v - (y - canvas.height / 2) / scale) / image.height;
  move(0, 0);
}

/** Pans by device pixels; the image covers the stage, or stays in its middle. */
function move(x, y) {
  const { scale } = fitted();
  const held = (at, side, room) => {
    const slack = room / (2 * side * scale);
    return slack >= 0.5 ? 0.5 : Math.min(1 - slack, Math.max(slack, at));
  };
  place.x = held(place.x - x / (image.width * scale), image.width, canvas.width);
  place.y = held(place.y - y / (image.height * scale), image.height, canvas.height);
  $("stage").classList.toggle("zoomed", place.scale > 1);
  $("zoom").textContent = `${place.scale < 10 && place.scale % 1 ? place.scale.toFixed(1) : Math.round(place.scale)}×`;
  draw();
}

function fit() {
  place = { scale: 1, x: 0.5, y: 0.5 };
  move(0, 0);
}

$("in").onclick = () => zoom(1.5);
$("out").onclick = () => zoom(1 / 1.5);
$("fit").onclick = fit;
canvas.ondblclick = (event) => (place.scale > 1 ? fit() : zoom(2.5, event.offsetX * devicePixelRatio, event.offsetY * devicePixelRatio));

$("stage").onkeydown = (event) => {
  if (event.target !== $("stage") || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = 60 * devicePixelRatio;
  const keys = {
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: fit,
    ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
  };
  if (!keys[event.key] || (event.key.startsWith("Arrow") && place.scale === 1)) return;
  event.preventDefault();
  event.stopPropagation(); // panning a zoomed image does not go to the next one
  keys[event.key]();
};

canvas.addEventListener("wheel", (event) => {
  // Where the page itself scrolls, a plain wheel scrolls it.
  const scrolls = document.documentElement.scrollHeight > innerHeight;
  if (scrolls && !event.ctrlKey) return;
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), event.offsetX * devicePixelRatio, event.offsetY * devicePixelRatio);
}, { passive: false });

/** One finger or the mouse pans, two fingers also zoom. */
const touches = new Map();
canvas.onpointerdown = (event) => {
  touches.set(event.pointerId, event);
  canvas.setPointerCapture(event.pointerId);
};
canvas.onpointermove = (event) => {
  const before = touches.get(event.pointerId);
  if (!before) return;
  const dpr = devicePixelRatio;
  const other = [...touches.values()].find((touch) => touch.pointerId !== event.pointerId);
  touches.set(event.pointerId, event);
  if (other) {
    const span = (touch) => Math.hypot(touch.offsetX - other.offsetX, touch.offsetY - other.offsetY);
    zoom(span(event) / Math.max(1, span(before)), ((event.offsetX + other.offsetX) / 2) * dpr, ((event.offsetY + other.offsetY) / 2) * dpr);
    move(((event.offsetX - before.offsetX) / 2) * dpr, ((event.offsetY - before.offsetY) / 2) * dpr);
  } else if (place.scale > 1) {
    move((event.offsetX - before.offsetX) * dpr, (event.offsetY - before.offsetY) * dpr);
  }
};
canvas.onpointerup = canvas.onpointercancel = (event) => touches.delete(event.pointerId);

new ResizeObserver(() => {
  if (!shown) return;
  sizeCanvas();
  move(0, 0);
}).observe(canvas);
