// Resizing without antialiasing to float32 pixels, as edge_effnet/keras_resizing.py.
// Each operation is rounded to float32, so all browsers and Python give the same values.

const { fround } = Math;
const TABLE_SIZE = 1024;
const SHARPNESS = -0.5; // parameter a of the bicubic filter
const TAPS = { "keras-nearest": nearest, "keras-bicubic": cubic };

/** The resized window of a picture: Float32Array [rows, columns, 3] in pixel units. */
export function resize(picture, box, interpolation) {
  const result = new Float32Array(box.rows * box.columns * 3);
  const left = box.left - picture.left;
  const top = box.top - picture.top;
  const value = (row, column, channel) =>
    picture.data[((top + row) * picture.width + left + column) * 4 + channel];
  if (interpolation === "keras-bilinear") {
    const [across, down] = [linear(box.width, box.columns), linear(box.height, box.rows)];
    const mix = (start, end, share) => fround(start + fround(fround(end - start) * share));
    each(box, result, (row, column, channel) => {
      const { lower, upper, share } = across[column];
      const line = (at) => mix(value(at, lower, channel), value(at, upper, channel), share);
      const edge = down[row];
      return mix(line(edge.lower), line(edge.upper), edge.share);
    });
    return result;
  }
  const taps = TAPS[interpolation];
  const [across, down] = [taps(box.width, box.columns), taps(box.height, box.rows)];
  each(box, result, (row, column, channel) =>
    weighted(across[column], (at) => weighted(down[row], (line) => value(line, at, channel))));
  return result;
}

function each({ rows, columns }, result, value) {
  let target = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      for (let channel = 0; channel < 3; channel++) result[target++] = value(row, column, channel);
    }
  }
}

/** Centre of each of `size` outputs along an axis of `length` pixels, pixel 0 from 0 to 1. */
function centres(length, size) {
  const scale = fround(length / size);
  return Array.from({ length: size }, (_, index) => fround((index + 0.5) * scale));
}

function linear(length, size) {
  return centres(length, size).map((centre) => {
    const place = fround(centre - 0.5);
    const below = Math.floor(place);
    const share = fround(place - below);
    return { lower: Math.max(below, 0), upper: Math.min(below + 1, length - 1), share };
  });
}

function nearest(length, size) {
  return centres(length, size).map((centre) => {
    const index = Math.min(Math.floor(centre), length - 1);
    return [{ index, weight: 1 }];
  });
}

/** The four pixels of each output; those outside the picture weigh nothing. */
function cubic(length, size) {
  return centres(length, size).map((centre) => {
    const place = fround(centre - 0.5);
    const below = Math.floor(place);
    const offset = halfEven(fround(place - below) * TABLE_SIZE);
    const back = TABLE_SIZE - offset;
    const weights = [far(offset), near(offset), near(back), far(back)];
    const taps = weights.map((weight, tap) => {
      const wanted = below - 1 + tap;
      const index = Math.min(Math.max(wanted, 0), length - 1);
      return { index, weight: index === wanted ? weight : 0 };
    });
    const total = taps.reduce((sum, { weight }) => fround(sum + weight), 0);
    const inverse = fround(1 / total);
    return taps.map(({ index, weight }) => ({ index, weight: fround(weight * inverse) }));
  });
}

function near(entry) {
  const [a, x] = [SHARPNESS, entry / TABLE_SIZE];
  return fround(((a + 2) * x - (a + 3)) * x * x + 1);
}

function far(entry) {
  const [a, x] = [SHARPNESS, entry / TABLE_SIZE + 1];
  return fround(((a * x - 5 * a) * x + 8 * a) * x - 4 * a);
}

function weighted(taps, value) {
  let sum = 0;
  for (const { index, weight } of taps) sum = fround(sum + fround(value(index) * weight));
  return sum;
}

/** Round like Python: halves to the even neighbour. */
export function halfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}
