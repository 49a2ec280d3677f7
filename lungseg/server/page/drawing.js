// Drawing

const canvas = document.querySelector("canvas");
const style = getComputedStyle(document.documentElement);
const [RIGHT, LEFT] = ["--right", "--left"].map((name) => style.getPropertyValue(name).trim());
/** #rrggbb as one number of an ImageData: its bytes are red, green, blue, alpha, the lowest first. */
const packed = (colour) => parseInt(`ff${colour.slice(5, 7)}${colour.slice(3, 5)}${colour.slice(1, 3)}`, 16);
const TINTS = [0, packed(RIGHT), packed(LEFT)];
/** The colour of the doubtful band: pixels of which the network is less than 80 % sure. */
const DOUBT = packed("#ff3bd4");

/** Zoom: `scale` by that at which the film fits, and the film's point at the middle of the stage, 0 to 1. */
let place = { scale: 1, x: 0.5, y: 0.5 };
let shown = null;

function bitmap(width, height, colour) {
  const picture = Object.assign(document.createElement("canvas"), { width, height });
  const data = new ImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colour(i);
  picture.getContext("2d").putImageData(data, 0, 0);
  return picture;
}

function paintFilm() {
  const flip = $("invert").checked ? 255 : 0;
  film.picture = bitmap(film.width, film.height, (i) => 0xff000000 | ((film.grey[i] ^ flip) * 0x010101));
}

/** The film's corner and scale on the canvas, in device pixels. */
function fitted() {
  const scale = place.scale * Math.min(canvas.width / film.width, canvas.height / film.height);
  return { scale, x: canvas.width / 2 - place.x * film.width * scale, y: canvas.height / 2 - place.y * film.height * scale };
}

function draw() {
  const context = canvas.getContext("2d");
  const { scale, x, y } = fitted();
  const dot = devicePixelRatio / scale;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(scale, 0, 0, scale, x, y);
  context.imageSmoothingQuality = "high";
  context.drawImage(film.picture, 0, 0);
  if ($("fill").checked) {
    context.globalAlpha = Number($("opacity").value);
    context.drawImage(shown.tint, 0, 0);
    context.globalAlpha = 1;
  }
  if ($("doubt").checked) {
    context.globalAlpha = 0.6;
    context.drawImage(shown.doubt, 0, 0);
    context.globalAlpha = 1;
  }
  if ($("contour").checked) {
    context.lineCap = context.lineJoin = "round";
    // A dark line below, so that the outline is seen on bone as well.
    for (const [width, right, left] of [[4, "#000a", "#000a"], [2, RIGHT, LEFT]]) {
      context.lineWidth = width * dot;
      context.strokeStyle = right;
      context.stroke(shown.paths[0]);
      context.strokeStyle = left;
      context.stroke(shown.paths[1]);
    }
  }
  if ($("letters").checked) {
    letter(context, "R", RIGHT, shown.right.centre, dot);
    letter(context, "L", LEFT, shown.left.centre, dot);
  }
}

function letter(context, text, colour, centre, dot) {
  if (!centre) return;
  context.beginPath();
  context.arc(centre[0], centre[1], 13 * dot, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = 1.5 * dot;
  context.strokeStyle = "#06121d";
  context.stroke();
  context.fillStyle = "#06121d";
  context.font = `700 ${16 * dot}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, centre[0], centre[1] + dot);
}

/** Makes the mask anew at the slider's threshold; nothing is asked of the service. */
function update() {
  shown = segment(film, threshold());
  shown.tint = bitmap(film.width, film.height, (i) => TINTS[shown.labels[i]]);
  shown.doubt = bitmap(film.width, film.height, (i) => (film.probability[i] > level(0.2) && film.probability[i] < level(0.8) ? DOUBT : 0));
  shown.paths = outlines(shown, film.width, film.height);
  tell();
  draw();
}

let due = 0;
function soon(work) {
  cancelAnimationFrame(due);
  due = requestAnimationFrame(work);
}
