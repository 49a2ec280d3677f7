// The mask at a threshold, as lungseg/pipeline/mask.py makes it.

const MIN_FRAGMENT = 0.05, MAX_HOLE = 0.1, ONE_SIDED = 0.85;

/** The grey value of a threshold in the probability plane, whose values are rounded down: half a step too low on average. */
const level = (at) => 256 * at - 0.5;

/** Connected components of lung and of background: runs along the rows, joined where they touch runs of the row above. */
function connect(field, width, height, cut) {
  const starts = [], lungs = [], parent = [];
  const root = (run) => {
    while (parent[run] !== run) run = parent[run] = parent[parent[run]];
    return run;
  };
  let above = 0;
  for (let y = 0; y < height; y++) {
    const first = starts.length;
    for (let x = 0, i = y * width; x < width; x++, i++) {
      const lung = field[i] > cut;
      if (x === 0 || lung !== lungs[lungs.length - 1]) {
        parent.push(starts.length);
        starts.push(i);
        lungs.push(lung);
      }
    }
    // Walk both rows from left to right; advance the run that ends first.
    for (let p = above, q = first; y > 0 && p < first && q < starts.length; ) {
      if (lungs[p] === lungs[q]) parent[root(q)] = root(p);
      const pEnd = p + 1 < first ? starts[p + 1] : y * width;
      const qEnd = (q + 1 < starts.length ? starts[q + 1] : (y + 1) * width) - width;
      if (pEnd <= qEnd) p++;
      if (qEnd <= pEnd) q++;
    }
    above = first;
  }
  const parts = new Map();
  starts.push(width * height);
  for (let run = 0; run < lungs.length; run++) {
    const key = root(run);
    const part = parts.get(key) ?? { lung: lungs[run], area: 0, open: false, runs: [], before: root(Math.max(0, run - 1)) };
    const [start, end] = [starts[run], starts[run + 1]];
    part.area += end - start;
    part.open ||= start < width || end > width * (height - 1) || start % width === 0 || end % width === 0;
    part.runs.push(start, end);
    parts.set(key, part);
  }
  return parts;
}

/** The probability without small fragments and holes, and the components of the lungs. */
function clean(probability, width, height, cut) {
  const field = probability.slice();
  const paint = (part, value) => {
    for (let r = 0; r < part.runs.length; r += 2) field.fill(value, part.runs[r], part.runs[r + 1]);
  };
  const pass = (choose, value) => {
    const parts = connect(field, width, height, cut);
    const chosen = choose(parts);
    chosen.forEach((part) => paint(part, value));
    return chosen.length ? connect(field, width, height, cut) : parts;
  };
  pass((parts) => {
    const lungs = [...parts.values()].filter((part) => part.lung);
    const least = MIN_FRAGMENT * Math.max(0, ...lungs.map((part) => part.area));
    return lungs.filter((part) => part.area < least);
  }, 0);
  const parts = pass((parts) => {
    const holes = [...parts.values()].filter((part) => !part.lung && !part.open);
    const outer = new Map();
    for (const hole of holes) outer.set(hole.before, (outer.get(hole.before) ?? parts.get(hole.before).area) + hole.area);
    return holes.filter((hole) => hole.area < MAX_HOLE * outer.get(hole.before));
  }, 255);
  return { field, lungs: [...parts.values()].filter((part) => part.lung) };
}

/** Labels (0, 1 right, 2 left) and each lung's area and centre at a threshold. */
function segment({ probability, side, width, height }, at) {
  const cut = level(at);
  const { field, lungs } = clean(probability, width, height, cut);
  const labels = new Uint8Array(width * height);
  const sums = { 1: [0, 0, 0], 2: [0, 0, 0] };
  for (const part of lungs) {
    const { runs } = part;
    let rights = 0;
    for (let r = 0; r < runs.length; r += 2) for (let i = runs[r]; i < runs[r + 1]; i++) rights += side[i] === 1;
    const share = rights / part.area;
    const whole = share >= ONE_SIDED ? 1 : share <= 1 - ONE_SIDED ? 2 : 0;
    for (let r = 0; r < runs.length; r += 2) {
      const y = Math.floor(runs[r] / width);
      for (let i = runs[r]; i < runs[r + 1]; i++) {
        const label = whole || side[i];
        labels[i] = label;
        const sum = sums[label];
        sum[0] += 1;
        sum[1] += i - y * width;
        sum[2] += y;
      }
    }
  }
  const measure = ([area, x, y]) => ({ area, centre: area ? [x / area + 0.5, y / area + 0.5] : null });
  return { labels, field, cut, right: measure(sums[1]), left: measure(sums[2]) };
}

/** The lungs' outlines, right and left: where the probability crosses the threshold between pixel centres. */
function outlines({ field, labels, cut }, width, height) {
  const paths = [null, new Path2D(), new Path2D()];
  const between = (i, j) => (cut - field[i]) / (field[j] - field[i]);
  // Which two sides of a cell (0 top, 1 right, 2 bottom, 3 left) a segment joins, by its corners that are lung.
  const PIECES = [[], [3, 0], [0, 1], [3, 1], [1, 2], [3, 0, 1, 2], [0, 2], [3, 2], [2, 3], [2, 0], [0, 1, 2, 3], [2, 1], [1, 3], [1, 0], [0, 3], []];
  for (let y = 0; y + 1 < height; y++) {
    for (let x = 0, i = y * width; x + 1 < width; x++, i++) {
      const [a, b, c, d] = [labels[i], labels[i + 1], labels[i + width + 1], labels[i + width]];
      const corners = (a && 1) | (b && 2) | (c && 4) | (d && 8);
      if (corners === 0 || corners === 15) continue;
      const path = paths[a || b || c || d];
      PIECES[corners].forEach((place, k) => {
        const px = place === 1 ? 1 : place === 3 ? 0 : place === 0 ? between(i, i + 1) : between(i + width, i + width + 1);
        const py = place === 0 ? 0 : place === 2 ? 1 : place === 1 ? between(i + 1, i + width + 1) : between(i, i + width);
        path[k % 2 ? "lineTo" : "moveTo"](x + 0.5 + px, y + 0.5 + py);
      });
    }
  }
  return paths.slice(1);
}
