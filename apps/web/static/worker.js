// Worker of the model. Messages: {threads, backend} once, then {picture} -> logits and times.
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

async function open(threads, backend) {
  const model = await (await fetch("./model.json")).json();
  const data = await whole(model.file, model.integrity);
  const runtime = await import(model.format === "tflite" ? "./litert.js" : "./onnx.js");
  const preprocess = await import("./preprocess.js");
  engine = { model, preprocess, runner: await runtime.open(data, model, threads, backend) };
  await test(model.selftest);
}

/** Compare the logits of a known picture with those of the native runtime; throws if they differ. */
async function test({ file, integrity, logits: expected, limit }) {
  const pixels = await whole(file, integrity);
  const logits = await infer(engine.preprocess.tensor(pixels, engine.model.input));
  let noise = 0;
  let energy = 0;
  expected.forEach((value, index) => {
    noise += (logits[index] - value) ** 2;
    energy += value ** 2;
  });
  if (!(logits.length === expected.length && noise <= limit * energy)) { // true for NaN too
    throw new Error("it computes other results than those recorded with the model");
  }
}

/** Logits of an input; integers are dequantized. */
async function infer(input) {
  const values = await engine.runner.run(input);
  const { scale, zero_point: zero } = engine.model.output;
  return scale ? values.map((value) => (value - zero) * Math.fround(scale)) : values;
}

async function answer(picture) {
  const { model, preprocess } = engine;
  const start = performance.now();
  const pixels = preprocess.pixels(picture, model.preprocess);
  const input = preprocess.tensor(pixels, model.input);
  const middle = performance.now();
  const logits = await infer(input);
  const end = performance.now();
  return { logits, preprocess: middle - start, inference: end - middle };
}

self.onmessage = async ({ data: { id, threads, backend, picture } }) => {
  try {
    const result = picture ? await answer(picture) : await open(threads, backend);
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id, error: String(error?.message ?? error) });
  }
};
