// Smoothing of a live picture's probabilities over time, as the camera of edge-effnet does it.

const CELLS = 8; // cells of the picture along each side
const SAMPLES = 4; // sampled pixels along each side of a cell

/** Mean colours of the picture's cells, from RGBA pixels: 8 * 8 * 3 values. */
export function cells({ data, width, height }) {
  const means = new Float64Array(CELLS * CELLS * 3);
  const count = CELLS * SAMPLES;
  for (let row = 0; row < count; row++) {
    const y = Math.floor(((2 * row + 1) * height) / (2 * count));
    for (let column = 0; column < count; column++) {
      const x = Math.floor(((2 * column + 1) * width) / (2 * count));
      const cell = Math.floor(row / SAMPLES) * CELLS + Math.floor(column / SAMPLES);
      for (let channel = 0; channel < 3; channel++) {
        means[3 * cell + channel] += data[4 * (y * width + x) + channel] / SAMPLES ** 2;
      }
    }
  }
  return means;
}

/**
 * Function (probabilities, cells, seconds) -> smoothed probabilities. `smoothing` is the time
 * constant in seconds, 0 for none. It restarts when the mean difference of the cells reaches
 * `change`: then the scene is another one.
 */
export function smoother({ smoothing, scene_change: change }) {
  let last;
  return (values, now, seconds) => {
    const difference = last && now.reduce((sum, mean, n) => sum + Math.abs(mean - last.cells[n]), 0);
    const fresh = !last || !smoothing || difference / now.length >= change;
    const share = fresh ? 1 : 1 - Math.exp(-Math.max(seconds - last.seconds, 0) / smoothing);
    const smooth = values.map((value, n) => (fresh ? value : last.values[n] + share * (value - last.values[n])));
    last = { values: smooth, cells: now, seconds };
    return smooth;
  };
}
