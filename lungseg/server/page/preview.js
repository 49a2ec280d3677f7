// The preview, as lungseg/encode/preview.py makes it: a PNG of three channels and a document.

/**
 * Decodes a PNG of 8-bit RGB. A canvas would take one line, but browsers that prevent fingerprinting add noise to what is
 * read from a canvas, and none returns the text chunk.
 */
async function readPreview(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const packed = [];
  let facts = null;
  for (let at = 8; at < bytes.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    if (kind === "IDAT") packed.push(body);
    if (kind === "tEXt") {
      const [key, text] = new TextDecoder("latin1").decode(body).split("\0");
      if (key === "document") facts = JSON.parse(text);
    }
  }
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const stream = new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(stream).arrayBuffer());
  const [grey, probability, side] = unfilter(rows, width, height);
  return { facts, width, height, grey, probability, side };
}

/** Undoes the filters of PNG (PNG specification, section 9) and separates the three channels. */
function unfilter(rows, width, height) {
  const stride = 3 * width;
  const planes = [0, 1, 2].map(() => new Uint8Array(width * height));
  let above = new Uint8Array(stride);
  for (let y = 0; y < height; y++) {
    const start = y * (stride + 1);
    const filter = rows[start];
    const line = rows.subarray(start + 1, start + 1 + stride);
    for (let i = 0; i < stride; i++) {
      const a = i >= 3 ? line[i - 3] : 0;
      const b = above[i];
      const c = i >= 3 ? above[i - 3] : 0;
      if (filter === 1) line[i] += a;
      else if (filter === 2) line[i] += b;
      else if (filter === 3) line[i] += (a + b) >> 1;
      else if (filter === 4) {
        const [pa, pb, pc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
        line[i] += pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
      }
    }
    for (let x = 0; x < width; x++) for (let k = 0; k < 3; k++) planes[k][y * width + x] = line[3 * x + k];
    above = line;
  }
  return planes;
}
