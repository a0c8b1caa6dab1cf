// Worker of the model. Messages: {open: threads} once, then {picture} -> logits and times.
// A classic worker: the runtime's loader calls importScripts.
"use strict";

let engine;

/** Bytes of the model file; the browser refuses a file with another digest. */
async function whole(file, integrity) {
  try {
    const answer = await fetch(`./${file}`, { integrity });
    if (answer.ok) return new Uint8Array(await answer.arrayBuffer());
    throw new Error(`${answer.status} ${answer.statusText}`);
  } catch (error) {
    throw new Error(`${file} does not arrive as it was made (${error.message})`);
  }
}

async function open(threads) {
  const model = await (await fetch("./model.json")).json();
  const data = await whole(model.file, model.integrity);
  const runtime = await import(model.format === "tflite" ? "./litert.js" : "./onnx.js");
  const preprocess = await import("./preprocess.js");
  engine = { model, preprocess, runner: await runtime.open(data, model, threads) };
}

async function answer(picture) {
  const { model, preprocess, runner } = engine;
  const start = performance.now();
  const pixels = preprocess.pixels(picture, model.preprocess);
  const input = preprocess.tensor(pixels, model.input);
  const middle = performance.now();
  const values = await runner.run(input);
  const { scale, zero_point: zero } = model.output;
  const logits = scale ? values.map((value) => (value - zero) * Math.fround(scale)) : values;
  const end = performance.now();
  return { logits, preprocess: middle - start, inference: end - middle };
}

self.onmessage = async ({ data: { id, threads, picture } }) => {
  try {
    self.postMessage({ id, result: picture ? await answer(picture) : await open(threads) });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
