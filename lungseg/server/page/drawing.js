// Drawing.

const canvas = document.querySelector("canvas");
const style = getComputedStyle(document.documentElement);
const [RIGHT, LEFT, DOUBT_COLOUR] = ["--right", "--left", "--doubt"].map((name) => style.getPropertyValue(name).trim());
/** #rrggbb as one number of an ImageData: its bytes are red, green, blue, alpha, lowest first. */
const packedColour = (colour) => parseInt(`ff${colour.slice(5, 7)}${colour.slice(3, 5)}${colour.slice(1, 3)}`, 16);
const TINTS = [0, packedColour(RIGHT), packedColour(LEFT)];
/** Colour of the uncertain area, where the network is less than 80 % sure. */
const DOUBT = packedColour(DOUBT_COLOUR);

/** Zoom: `scale` relative to a fit, and the point of the image at the middle of the stage, 0 to 1. */
let place = { scale: 1, x: 0.5, y: 0.5 };
/** The mask on show: what `segment` returns, with its bitmaps and paths. */
let shown = null;

function bitmap(width, height, colour) {
  const picture = Object.assign(document.createElement("canvas"), { width, height });
  const data = new ImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  for (let i = 0; i < pixels.length; i++) pixels[i] = colour(i);
  picture.getContext("2d").putImageData(data, 0, 0);
  return picture;
}

/** Greys as a bitmap; a `flip` of 255 inverts them. */
const greyBitmap = ({ width, height, grey }, flip = 0) => bitmap(width, height, (i) => 0xff000000 | ((grey[i] ^ flip) * 0x010101));

function paintImage() {
  image.picture = greyBitmap(image, $("invert").checked ? 255 : 0);
}

/** Gives the canvas a pixel for each pixel of the screen. */
function sizeCanvas() {
  canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
}

/** Paints the uncertain area, which no slider changes. */
function paintDoubt() {
  const [low, high] = [level(0.2), level(0.8)];
  image.doubt = bitmap(image.width, image.height, (i) => (image.probability[i] > low && image.probability[i] < high ? DOUBT : 0));
}

/** The image's corner and scale on the canvas, in device pixels. */
function fitted() {
  const scale = place.scale * Math.min(canvas.width / image.width, canvas.height / image.height);
  return { scale, x: canvas.width / 2 - place.x * image.width * scale, y: canvas.height / 2 - place.y * image.height * scale };
}

function draw() {
  const context = canvas.getContext("2d");
  const { scale, x, y } = fitted();
  const dot = devicePixelRatio / scale;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(scale, 0, 0, scale, x, y);
  context.imageSmoothingQuality = "high";
  context.drawImage(image.picture, 0, 0);
  if (isWithheld(image.entry)) return;
  if ($("fill").checked) {
    context.globalAlpha = Number($("opacity").value);
    context.drawImage(shown.tint, 0, 0);
    context.globalAlpha = 1;
  }
  if ($("doubt").checked) {
    context.globalAlpha = 0.6;
    context.drawImage(image.doubt, 0, 0);
    context.globalAlpha = 1;
  }
  if ($("contour").checked) {
    context.lineCap = context.lineJoin = "round";
    // A dark line below keeps the outline visible on bone.
    for (const [width, right, left] of [[4, "#000a", "#000a"], [2, RIGHT, LEFT]]) {
      context.lineWidth = width * dot;
      context.strokeStyle = right;
      context.stroke(shown.paths[0]);
      context.strokeStyle = left;
      context.stroke(shown.paths[1]);
    }
  }
  if ($("letters").checked) {
    letter(context, STRINGS.rightLetter, RIGHT, shown.right.centre, dot);
    letter(context, STRINGS.leftLetter, LEFT, shown.left.centre, dot);
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

/** Recomputes the mask at the slider's threshold, without a request. */
function update() {
  shown = segment(image, threshold());
  shown.tint = bitmap(image.width, image.height, (i) => TINTS[shown.labels[i]]);
  shown.paths = outlines(shown, image.width, image.height);
  reportThreshold();
  draw();
}

let due = 0;
/** Draws once per frame, however often the slider moves. */
function drawSoon(work) {
  cancelAnimationFrame(due);
  due = requestAnimationFrame(() => image && work());
}
