// Preprocessing of a picture to the network's pixels, bit-identical to Pillow's crop and resize.
// The filters use fixed point with 22 fractional bits: horizontally, then vertically, rounding
// after each. All numbers are doubles or integers below 2^53, so all browsers give the same bytes.
//
// A picture is {data, left, top, width, height, fullWidth, fullHeight}: RGBA bytes of a part of
// the whole picture; positions are in pixels of the whole picture.

import { halfEven, resize as resizeAsKeras } from "./keras_resizing.js";

const BITS = 22; // Pillow's PRECISION_BITS: 32 - 8 - 2
const SHARPNESS = -0.5; // parameter a of the bicubic filter
const FILTERS = {
  bilinear: { reach: 1, weight: (x) => (x < 1 ? 1 - x : 0) },
  bicubic: { reach: 2, weight: bicubic },
};

function bicubic(x) {
  const a = SHARPNESS;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** Part of a picture and its position in the network's input; as Preprocess.window in Python. */
export function window(width, height, { size, crop, crop_mode: mode = "center", interpolation }) {
  const keras = isKeras(interpolation);
  const part = (length) => Math.max(1, Math.trunc(length * crop));
  const axis = (length) => {
    if (mode === "squash") return central(length, part(length), size, keras);
    if (mode === "border") return bordered(length, part(Math.max(width, height)), size, keras);
    return central(length, part(Math.min(width, height)), size, keras);
  };
  const across = axis(width);
  const down = axis(height);
  return {
    left: across.start, width: across.length, columns: across.resized, x: across.at,
    top: down.start, height: down.length, rows: down.resized, y: down.at,
  };
}

function isKeras(interpolation = "") {
  return interpolation.startsWith("keras-");
}

/** One axis of a crop: the central `part` pixels fill the input. */
function central(length, part, size, keras) {
  const start = Math.floor((length - part + (keras ? 0 : 1)) / 2);
  return { start, length: part, resized: size, at: 0 };
}

/** One axis with border: the input covers `side` pixels, the picture may have fewer. */
function bordered(length, side, size, keras) {
  if (length >= side) return central(length, side, size, keras);
  const resized = Math.min(size, Math.max(1, halfEven((length * size) / side)));
  return { start: 0, length, resized, at: Math.floor((size - resized) / 2) };
}

/** The part of a picture that `pixels` reads: the window plus the radius of the filter, or all. */
export function needed(width, height, preprocess) {
  if (preprocess.resize_first) return { left: 0, top: 0, width, height };
  const box = window(width, height, preprocess);
  const reach = FILTERS[preprocess.interpolation]?.reach ?? 0;
  const margin = (side, size) => Math.ceil(reach * Math.max(1, side / size)) + 1;
  const besideX = margin(box.width, box.columns);
  const besideY = margin(box.height, box.rows);
  const left = Math.max(0, box.left - besideX);
  const top = Math.max(0, box.top - besideY);
  return {
    left,
    top,
    width: Math.min(width, box.left + box.width + besideX) - left,
    height: Math.min(height, box.top + box.height + besideY) - top,
  };
}

/** The network's pixels of a picture: RGB bytes [size, size, 3], or float32 as Keras resizes. */
export function pixels(picture, preprocess) {
  const { size, interpolation, fill } = preprocess;
  const { fullWidth, fullHeight } = picture;
  const box = preprocess.resize_first
    ? whole(fullWidth, fullHeight, preprocess)
    : window(fullWidth, fullHeight, preprocess);
  const resized = isKeras(interpolation)
    ? resizeAsKeras(picture, box, interpolation)
    : interpolation === "nearest" ? nearest(picture, box) : filtered();
  return box.columns === size && box.rows === size ? resized : framed(resized, box, size, fill);

  function filtered() {
    if (box.downFirst) {
      const turned = {
        left: 0, width: box.height, columns: box.rows,
        top: 0, height: box.width, rows: box.columns,
      };
      return flipped(resize(upended(picture), turned), box.rows, box.columns, 3);
    }
    return resize(picture, box);
  }

  function resize(source, part) {
    const across = taps(source.fullWidth, part.left, part.width, part.columns, interpolation);
    const down = taps(source.fullHeight, part.top, part.height, part.rows, interpolation);
    return shrinkDown(shrinkAcross(source, across, down), down, part.columns);
  }
}

/** The box of `resize_first`: the whole picture is resized, and cut or padded to the input. */
function whole(width, height, { size, crop, crop_mode: mode = "center", interpolation }) {
  const side = Math.floor(size / crop);
  const short = Math.min(width, height);
  const ratio = Math.max(width / side, height / side);
  const resized = (length) => {
    if (mode === "squash") return side;
    if (mode === "border") return Math.max(1, halfEven(length / ratio));
    return Math.trunc((side * length) / short);
  };
  const half = isKeras(interpolation) ? Math.floor : halfEven;
  const offset = (length) =>
    length < size ? Math.floor((size - length) / 2) : -half((length - size) / 2);
  const [columns, rows] = [resized(width), resized(height)];
  const fewer = height - rows;
  return {
    left: 0, width, columns, x: offset(columns),
    top: 0, height, rows, y: offset(rows),
    downFirst: fewer > 0 && fewer > 2 * (width - columns), // as Pillow 13
  };
}

/** A picture with rows and columns exchanged. */
function upended(picture) {
  const { data, width, height, fullWidth, fullHeight } = picture;
  return {
    data: flipped(data, width, height, 4),
    left: picture.top, top: picture.left, width: height, height: width,
    fullWidth: fullHeight, fullHeight: fullWidth,
  };
}

/** The values [height, width, channels] as [width, height, channels]. */
function flipped(data, width, height, channels) {
  const made = new Uint8ClampedArray(data.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const source = (row * width + column) * channels;
      const target = (column * height + row) * channels;
      for (let channel = 0; channel < channels; channel++) made[target + channel] = data[source + channel];
    }
  }
  return made;
}

/** RGB values [rows, columns, 3] pasted into an input of the colour `fill`; x and y may be < 0. */
function framed(resized, { columns, rows, x, y }, size, fill) {
  const made = new resized.constructor(size * size * 3);
  for (let index = 0; index < made.length; index++) made[index] = fill[index % 3];
  const [from, end] = [Math.max(0, -x), Math.min(columns, size - x)];
  for (let row = Math.max(0, -y); row < Math.min(rows, size - y); row++) {
    const line = resized.subarray((row * columns + from) * 3, (row * columns + end) * 3);
    made.set(line, ((y + row) * size + x + from) * 3);
  }
  return made;
}

const kept = new Map();

/** For each of `size` outputs along one axis: first input, number of inputs, weights. */
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
  if (kept.size > 16) kept.clear(); // a camera needs the same two all the time
  kept.set(key, found);
  return found;
}

function fixed(weight) {
  return Math.trunc(weight * 2 ** BITS + (weight < 0 ? -0.5 : 0.5));
}

/** Horizontally resized RGB bytes of the rows that `down` reads. */
function shrinkAcross(picture, across, down) {
  const columns = across.weights.length;
  const from = down.first[0];
  const last = down.weights.length - 1;
  const rows = down.first[last] + down.weights[last].length - from;
  const data = new Uint8ClampedArray(rows * columns * 3);
  let target = 0;
  for (let row = 0; row < rows; row++) {
    const begin = (from + row - picture.top) * picture.width - picture.left;
    for (let column = 0; column < columns; column++) {
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

function shrinkDown({ data, from }, down, columns) {
  const rows = down.weights.length;
  const made = new Uint8ClampedArray(rows * columns * 3);
  const stride = columns * 3;
  let target = 0;
  for (let row = 0; row < rows; row++) {
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

/** Index of the pixel under each output's centre, by repeated addition as in Pillow. */
function nearest(picture, box) {
  const places = (start, side, size) => {
    const step = side / size;
    const found = new Int32Array(size);
    for (let index = 0, at = start + step * 0.5; index < size; index++, at += step) {
      found[index] = Math.trunc(at);
    }
    return found;
  };
  const columns = places(box.left, box.width, box.columns);
  const rows = places(box.top, box.height, box.rows);
  const made = new Uint8ClampedArray(rows.length * columns.length * 3);
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

/**
 * The network's input tensor in the file's layout: bytes are mapped by a table per channel.
 * Float pixels are normalised by mean and std for a float32 input, and rounded to bytes for others.
 */
export function tensor(pixels, { dtype, layout, table, mean, std }) {
  const count = pixels.length / 3;
  const made = new ARRAYS[dtype](pixels.length);
  const exact = pixels instanceof Float32Array && dtype === "float32";
  const bytes = exact ? pixels : Uint8ClampedArray.from(pixels); // rounds halves to even
  for (let channel = 0; channel < 3; channel++) {
    const values = table[channel];
    const planar = layout === "NCHW";
    let target = planar ? channel * count : channel;
    for (let source = channel; source < pixels.length; source += 3) {
      made[target] = exact
        ? Math.fround(Math.fround(pixels[source] - mean[channel]) / std[channel])
        : values[bytes[source]];
      target += planar ? 1 : 3;
    }
  }
  return made;
}
