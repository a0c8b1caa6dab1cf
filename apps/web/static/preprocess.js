// A picture -> the network's pixels, exactly as Pillow crops and resizes: its filters in fixed
// point with 22 fractional bits, first across, then down, rounding after each. Every number here
// is a double or an integer below 2^53, so each browser gives the same bytes.
//
// A picture is {data, left, top, width, height, fullWidth, fullHeight}: RGBA bytes of a window of
// the whole; positions count in pixels of the whole.

const BITS = 22; // Pillow's PRECISION_BITS: 32 - 8 - 2
const SHARPNESS = -0.5; // of the bicubic filter
const FILTERS = {
  bilinear: { reach: 1, weight: (x) => (x < 1 ? 1 - x : 0) },
  bicubic: { reach: 2, weight: bicubic },
};

function bicubic(x) {
  const a = SHARPNESS;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** The central square that a picture of this size is cropped to. */
export function square(width, height, crop) {
  const side = Math.max(1, Math.trunc(Math.min(width, height) * crop));
  return {
    left: Math.floor((width - side + 1) / 2),
    top: Math.floor((height - side + 1) / 2),
    side,
  };
}

/** The part of a picture that `pixels` reads: the square and what the filter reaches around it. */
export function needed(width, height, { size, crop, interpolation }) {
  const box = square(width, height, crop);
  const reach = FILTERS[interpolation]?.reach ?? 0;
  const margin = Math.ceil(reach * Math.max(1, box.side / size)) + 1;
  const left = Math.max(0, box.left - margin);
  const top = Math.max(0, box.top - margin);
  return {
    left,
    top,
    width: Math.min(width, box.left + box.side + margin) - left,
    height: Math.min(height, box.top + box.side + margin) - top,
  };
}

/** RGB bytes [size, size, 3] of a picture. */
export function pixels(picture, { size, crop, interpolation }) {
  const box = square(picture.fullWidth, picture.fullHeight, crop);
  if (interpolation === "nearest") return nearest(picture, box, size);
  const across = taps(picture.fullWidth, box.left, box.side, size, interpolation);
  const down = taps(picture.fullHeight, box.top, box.side, size, interpolation);
  return shrinkDown(shrinkAcross(picture, across, down, size), down, size);
}

const kept = new Map();

/** For each of `size` outputs along one axis: the first input, how many, and their weights. */
function taps(length, start, side, size, interpolation) {
  const key = [length, start, side, size, interpolation].join();
  if (kept.has(key)) return kept.get(key);
  const { reach, weight } = FILTERS[interpolation];
  const scale = side / size;
  const stretch = Math.max(1, scale);
  const support = reach * stretch;
  const found = { first: new Int32Array(size), weights: [] };
  for (let place = 0; place < size; place++) {
    const centre = start + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(length, Math.trunc(centre + support + 0.5));
    const raw = new Float64Array(end - first);
    let sum = 0;
    for (let index = 0; index < raw.length; index++) {
      raw[index] = weight(Math.abs((index + first - centre + 0.5) * (1 / stretch)));
      sum += raw[index];
    }
    found.first[place] = first;
    found.weights.push(Int32Array.from(raw, (value) => fixed(sum ? value / sum : value)));
  }
  if (kept.size > 16) kept.clear(); // a camera asks for the same two again and again
  kept.set(key, found);
  return found;
}

function fixed(weight) {
  return Math.trunc(weight * 2 ** BITS + (weight < 0 ? -0.5 : 0.5));
}

/** The rows that `down` reads, each `size` wide: RGB bytes. */
function shrinkAcross(picture, across, down, size) {
  const from = down.first[0];
  const last = size - 1;
  const rows = down.first[last] + down.weights[last].length - from;
  const data = new Uint8ClampedArray(rows * size * 3);
  let target = 0;
  for (let row = 0; row < rows; row++) {
    const begin = (from + row - picture.top) * picture.width - picture.left;
    for (let column = 0; column < size; column++) {
      const weights = across.weights[column];
      let source = (begin + across.first[column]) * 4;
      let red = 1 << (BITS - 1), green = red, blue = red;
      for (let tap = 0; tap < weights.length; tap++, source += 4) {
        const weight = weights[tap];
        red += picture.data[source] * weight;
        green += picture.data[source + 1] * weight;
        blue += picture.data[source + 2] * weight;
      }
      data[target++] = red >> BITS;
      data[target++] = green >> BITS;
      data[target++] = blue >> BITS;
    }
  }
  return { data, from };
}

function shrinkDown({ data, from }, down, size) {
  const made = new Uint8ClampedArray(size * size * 3);
  const stride = size * 3;
  let target = 0;
  for (let row = 0; row < size; row++) {
    const weights = down.weights[row];
    const begin = (down.first[row] - from) * stride;
    for (let column = 0; column < stride; column++) {
      let sum = 1 << (BITS - 1);
      let source = begin + column;
      for (let tap = 0; tap < weights.length; tap++, source += stride) {
        sum += data[source] * weights[tap];
      }
      made[target++] = sum >> BITS;
    }
  }
  return made;
}

/** The pixel under each output's centre; the position is summed up step by step, as Pillow does. */
function nearest(picture, box, size) {
  const step = box.side / size;
  const places = (start) => {
    const found = new Int32Array(size);
    for (let index = 0, at = start + step * 0.5; index < size; index++, at += step) {
      found[index] = Math.trunc(at);
    }
    return found;
  };
  const columns = places(box.left);
  const rows = places(box.top);
  const made = new Uint8ClampedArray(size * size * 3);
  let target = 0;
  for (const row of rows) {
    for (const column of columns) {
      const source = ((row - picture.top) * picture.width + column - picture.left) * 4;
      for (let channel = 0; channel < 3; channel++) made[target++] = picture.data[source + channel];
    }
  }
  return made;
}

const ARRAYS = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array };

/** The network's input: each byte by its channel's table, in the file's own type and layout. */
export function tensor(bytes, { dtype, layout, table }) {
  const count = bytes.length / 3;
  const made = new ARRAYS[dtype](bytes.length);
  for (let channel = 0; channel < 3; channel++) {
    const values = table[channel];
    const planar = layout === "NCHW";
    let target = planar ? channel * count : channel;
    for (let source = channel; source < bytes.length; source += 3) {
      made[target] = values[bytes[source]];
      target += planar ? 1 : 3;
    }
  }
  return made;
}
