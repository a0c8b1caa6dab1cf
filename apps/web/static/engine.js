// The page's interface to the model: `open` it once, then ask for logits, one picture at a time.

import { needed } from "./preprocess.js";
import { cells } from "./smoothing.js";

const SECONDS = 90; // longest start of a backend other than WebAssembly
const MOST_THREADS = 4; // more threads bring little on networks of this size and heat a phone

/** Number of threads: `wished`, but one if the page cannot share memory. */
function threadsHere(wished = Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1)) {
  return self.crossOriginIsolated ? Math.max(1, wished) : 1;
}

/** Backends that this browser may have: their names, "wasm" (the CPU) first. */
export function backends() {
  const suspends = "Suspending" in WebAssembly; // the builds for GPUs need it
  const found = ["wasm"];
  if (suspends && navigator.gpu) found.push("webgpu");
  if (suspends && navigator.ml) found.push("webnn");
  return found;
}

/**
 * {model, threads, backend, refused, ask(source, width, height) -> {logits, cells, preprocess,
 * inference}}; times in ms. If the wished backend does not start, computes other results than those
 * recorded with the model, or fails later, `backend` is "wasm" and `refused` {backend, reason}.
 */
export async function open(wished, backend = "wasm") {
  const threads = threadsHere(wished);
  const model = await (await fetch("./model.json")).json();
  const engine = { model, threads, backend, refused: undefined };
  let send;
  const use = async (name) => {
    engine.backend = name;
    send = await started(name === "wasm" ? threads : 1, name);
  };
  const fallBack = async ({ message: reason }) => {
    engine.refused = { backend: engine.backend, reason };
    await use("wasm");
  };
  try {
    await use(backend);
  } catch (error) {
    if (backend === "wasm") throw error;
    await fallBack(error);
  }
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  // The source is drawn unscaled: preprocess.js resizes it, not the browser.
  const once = async (source, width, height) => {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.fillStyle = "#fff"; // background of transparent pixels, as in Python
    context.fillRect(0, 0, width, height);
    context.drawImage(source, 0, 0);
    const part = needed(width, height, model.preprocess);
    const { data } = context.getImageData(part.left, part.top, part.width, part.height);
    const picture = { data, ...part, fullWidth: width, fullHeight: height };
    const seen = cells(picture);
    return { cells: seen, ...(await send({ picture }, [data.buffer])) };
  };
  engine.ask = async (...picture) => {
    try {
      return await once(...picture);
    } catch (error) {
      if (engine.backend === "wasm") throw error;
      await fallBack(error); // for example, the GPU was lost
      return once(...picture);
    }
  };
  return engine;
}

/** Start a worker with a backend; returns the function that sends requests to it. */
async function started(threads, backend) {
  const worker = new Worker("./worker.js");
  const send = talkTo(worker);
  let timer;
  const late = new Promise((_, reject) => {
    if (backend === "wasm") return;
    const error = new Error(`it does not start within ${SECONDS} s`);
    timer = setTimeout(() => reject(error), 1000 * SECONDS);
  });
  try {
    await Promise.race([send({ threads, backend }), late]);
  } catch (error) {
    worker.terminate();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return send;
}

/** Function that sends requests to a worker; its promise rejects with the worker's error. */
function talkTo(worker) {
  const waiting = new Map();
  let count = 0;
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = (event) => {
    for (const { reject } of waiting.values()) reject(new Error(event.message || "it ended"));
    waiting.clear();
  };
  return (message, transfer = []) =>
    new Promise((resolve, reject) => {
      const id = count++;
      waiting.set(id, { resolve, reject });
      worker.postMessage({ id, ...message }, transfer);
    });
}

/**
 * The `top` predictions {label, value} from a network's values, best first; of equals, the lower
 * index first. A multi-label network predicts the labels from the model's threshold on; there may
 * be none.
 */
export function best(values, { labels, multi_label: several, threshold }, top = 5) {
  return values
    .map((value, index) => ({ label: labels[index], index, value }))
    .filter(({ value }) => !several || value >= threshold)
    .sort((a, b) => b.value - a.value || a.index - b.index)
    .slice(0, top);
}

/** Whether predictions are no answer: no label, or a best class below the least confidence. */
export function unsure(predictions, { activation, multi_label: several, min_confidence: least }) {
  if (several) return predictions.length === 0;
  return activation !== "none" && predictions[0].value < least;
}

/** Probabilities from a network's outputs; the outputs of a network without an activation. */
export function valuesOf(outputs, model) {
  const { activation, multi_label: several } = model;
  if (model.probabilities && activation === "sigmoid" && !several) {
    return [1 - outputs[0], outputs[0]];
  }
  if (activation === "none" || model.probabilities) return Array.from(outputs);
  const logistic = (logit) => 1 / (1 + Math.exp(-logit));
  if (several) return Array.from(outputs, logistic);
  if (activation === "sigmoid") return [logistic(-outputs[0]), logistic(outputs[0])];
  const highest = outputs.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Array.from(outputs, (logit) => Math.exp(logit - highest));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}
